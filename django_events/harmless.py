"""For what is worth less than an event: it may fail, and then nothing else does."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import ParamSpec, TypeVar

_Arguments = ParamSpec("_Arguments")
_Result = TypeVar("_Result")


def harmless(
    logger: logging.Logger, text: str
) -> Callable[[Callable[_Arguments, _Result]], Callable[_Arguments, _Result | None]]:
    """Makes functions return None instead of raising. What one raises is logged with this text, once a process."""

    def decorate(function: Callable[_Arguments, _Result]) -> Callable[_Arguments, _Result | None]:
        said: list[str] = []

        @wraps(function)
        def call(*args: _Arguments.args, **kwargs: _Arguments.kwargs) -> _Result | None:
            try:
                return function(*args, **kwargs)
            except Exception:
                if not said:
                    said.append("said")
                    logger.exception("%s; this is said once", text)
                return None

        return call

    return decorate
