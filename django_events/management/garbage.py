"""Python's look for garbage, in a process that is a command of ours.

Of some new objects in a row Python looks through all that there are. A Django site has some hundred thousand that never
become garbage, such as classes, functions and models, and each event that is in hand has some dozen.
"""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def sparing_what_there_is() -> Iterator[None]:
    """While this is open, what the process has made before is left out of all looks. For the whole process: open it
    once, when everything is imported.

    Source: the documentation of ``gc.freeze``, which has it for processes that fork.
    """
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
