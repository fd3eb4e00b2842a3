"""``python -m tests.unheard COMMAND …``: ``manage.py`` with a stdout that nobody reads any more."""

import os
import sys

from django.core.management import execute_from_command_line

if __name__ == "__main__":
    reading, writing = os.pipe()
    os.dup2(writing, sys.stdout.fileno())
    os.close(writing)
    os.close(reading)
    execute_from_command_line(["manage.py", *sys.argv[1:]])
