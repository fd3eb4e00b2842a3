"""Threads that do something at a steady pace, whatever the machine does meanwhile."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

NEAR = 0.9
"""The share of a rate that counts as the rate."""


def at_pace(rate: float, count: int, threads: int, do: Callable[[int, int], None], close: Callable[[], None]) -> None:
    """Call ``do(thread, number)`` ``count`` times in all, ``rate`` times a second; ``close`` in each thread at the end.

    Who is late does not wait, and does not leave anything out. Raises what a thread has raised.
    """
    began = time.monotonic() + 0.05

    def work(thread: int) -> None:
        try:
            for turn, at in enumerate(range(thread, count, threads)):
                time.sleep(max(began + at / rate - time.monotonic(), 0))
                do(thread, turn)
        finally:
            close()

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


def behind(rate: float, reached: float) -> list[str]:
    """What is to be known of figures whose pace was not kept up; nothing where it was."""
    return [] if reached >= NEAR * rate else [f"only {reached:,.0f} a second instead of {rate:,.0f}"]
