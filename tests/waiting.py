"""Waiting for conditions. No test waits for a fixed time."""

import time
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def wait_for(condition: Callable[[], Value], timeout: float = 120.0) -> Value:
    """Return the condition's value as soon as it is true; fail after ``timeout`` seconds, which are many: a machine
    that others use, too, may need ten times as long as an idle one."""
    deadline = time.monotonic() + timeout
    while not (value := condition()):
        assert time.monotonic() < deadline, f"not true within {timeout:g} s: {condition}, last {value!r}"
        time.sleep(0.02)
    return value
