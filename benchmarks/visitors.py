"""gunicorn with a site, and visitors who ask it for something at a steady pace."""

import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

import psycopg

from benchmarks.child import Clock, peak_memory
from benchmarks.counters import cpu_of_tree, tree_of
from benchmarks.handwritten.outbox import wait_until_empty
from benchmarks.pace import at_pace
from benchmarks.place import OURS
from benchmarks.profiling import profiled_if_asked
from tests.services.server import die_with_parent, free_ports

THREADS = 4


def run(clock: Clock, rate: float, requests: int, package: str) -> dict[str, Any]:
    """The moment of each request, by its number. Processor and memory are those of gunicorn and its worker."""
    (port,) = free_ports(1)
    site = f"benchmarks.{package}.web"
    options = ["--workers=1", f"--threads={THREADS}", f"--bind=127.0.0.1:{port}", "--log-level=error"]
    command = [sys.executable, "-m", "gunicorn", *options, f"{site}:application"]
    server = subprocess.Popen(command, env=os.environ, preexec_fn=die_with_parent)
    asked: dict[str, float] = {}

    def ask(thread: int, turn: int) -> None:
        number = turn * THREADS + thread
        asked[str(number)] = time.time()
        urllib.request.urlopen(f"http://127.0.0.1:{port}/{number}", timeout=30).close()

    try:
        wait_until_it_answers(port)
        clock.cpu_now = lambda: cpu_of_tree(server.pid)
        with profiled_if_asked(site, max(tree_of(server.pid))):  # the worker: it was started after gunicorn
            clock.wait_for_start()
            at_pace(rate, requests, THREADS, ask, lambda: None)
            clock.end()
        clock.memory = max(peak_memory(pid) for pid in tree_of(server.pid))
        with psycopg.connect(os.environ["DATABASE_URL"], application_name=OURS) as connection:
            wait_until_empty(connection)
    finally:
        server.terminate()
        server.wait(30)
    return {"asked": asked}


def wait_until_it_answers(port: int, timeout: float = 30.0) -> None:
    deadline = time.monotonic() + timeout
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5).close()
            return
        except urllib.error.URLError:
            assert time.monotonic() < deadline, f"gunicorn does not answer after {timeout:g} s"
            time.sleep(0.05)
