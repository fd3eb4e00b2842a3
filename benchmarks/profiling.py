"""Where the processes of a scenario spend their time: flame graphs of product and yard-stick, made by py-spy, and the
product's dearest lines. A sample is of the thread that has Python's lock: what waits, for whatever, costs nothing.

usage: ./dev profile SCENARIO [--only TEXT] [--full] [--folder FOLDER]
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from benchmarks import dearest
from benchmarks.child import PROFILE

ATTACHED = "Sampling process"
"""What py-spy says when it has found the process."""


def profiled_if_asked(name: str, pid: int) -> AbstractContextManager[None]:
    """``profiled``, where ``./dev profile`` has started us; the picture is named after what it shows."""
    folder = os.environ.get(PROFILE)
    return profiled(Path(folder) / f"{name}-{pid}.svg", pid) if folder else nullcontext()


@contextmanager
def profiled(picture: Path, pid: int) -> Iterator[None]:
    """Inside, the process is looked at 200 times a second."""
    command = ["py-spy", "record", "--pid", str(pid), "--rate", "200", "--gil", "--threads", "--output", str(picture)]
    with tempfile.NamedTemporaryFile() as said:
        spy = subprocess.Popen(
            [str(Path(sys.executable).parent / command[0]), *command[1:], "--duration", "3600"],
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        try:
            _wait_until_attached(spy, Path(said.name))
            yield
        finally:
            spy.send_signal(signal.SIGINT)
            spy.wait(30)


def _wait_until_attached(spy: "subprocess.Popen[bytes]", said: Path, timeout: float = 60.0) -> None:
    """What is over in a moment would else be over before."""
    deadline = time.monotonic() + timeout
    while ATTACHED not in said.read_text(errors="replace") and spy.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)


def main(arguments: Sequence[str]) -> int:
    from benchmarks.__main__ import main as bench
    from benchmarks.scenarios import NAMES

    parser = argparse.ArgumentParser(
        prog="./dev profile", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scenario", choices=NAMES)
    parser.add_argument("--only", default="", metavar="TEXT", help="only variants that have this text in their name")
    parser.add_argument("--full", action="store_true", help="full sizes; otherwise small ones")
    parser.add_argument("--folder", type=Path, default=Path("profiles"), help="default: profiles")
    options = parser.parse_args(arguments)
    options.folder.mkdir(parents=True, exist_ok=True)
    os.environ[PROFILE] = str(options.folder.absolute())
    before = set(options.folder.glob("*.svg"))
    size = [] if options.full else ["--quick"]
    code = bench([options.scenario, "--repeat", "1", "--only", options.only, *size])
    _tell(sorted(set(options.folder.glob("*.svg")) - before))
    return code


def _tell(pictures: Sequence[Path]) -> None:
    """Say where the flame graphs are, and the dearest lines of the product's."""
    for picture in pictures:
        print(f"\n{picture}")
        if "product" in picture.name:
            print(dearest.table(picture))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
