"""A database that nobody may touch: whoever connects to it is named on stderr, and gets an error."""

import sys
import traceback
from typing import Any, NoReturn

from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):
    def get_new_connection(self, conn_params: Any) -> NoReturn:
        traceback.print_stack(file=sys.stderr)
        sys.stderr.write("THE DATABASE WAS TOUCHED\n")
        raise AssertionError("the database was touched")
