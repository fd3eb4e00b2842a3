"""Breaks a site on real parts in every way, and judges its history.

usage: ./dev chaos [--seed N] [--seeds COUNT] [--minutes M] [--faults KIND,…] [--keep] [--planted [BUG …]]
                   [--report PAGE]
"""

import argparse
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import FrameType

import msgspec

from tests.chaos.parts import Parts
from tests.chaos.plan import KINDS
from tests.chaos.planted import BUGS, Planted
from tests.chaos.report import write_planted, write_runs
from tests.chaos.result import Result, broken_off
from tests.chaos.run import Run
from tests.chaos.scenario import CAST, SCENARIOS, Scenario
from tests.services.installing import CACHE, Unavailable


def main(arguments: Sequence[str]) -> int:
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, _end)
    try:
        with _started() as parts:
            if options.planted is not None:
                return _catch_planted(parts, options)
            results = list(_results(parts, options))
            if options.report:
                write_runs(options.report, results)
    except Unavailable as error:
        print(error, file=sys.stderr)
        return 1
    bad = [result for result in results if result.violations]
    print(f"{len(results)} runs, {len(bad)} with violations" + "".join(f"\n  {result}" for result in bad))
    return bool(bad)


def _parse(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./dev chaos", description="Breaks a site on real parts in every way.")
    parser.add_argument("--seed", type=int, default=None, help="the first seed (default: by the clock)")
    parser.add_argument("--seeds", type=int, default=1, help="how many seeds, one after the other (default: 1)")
    parser.add_argument("--minutes", type=float, default=0.0, help="begin new seeds for so long, instead of --seeds")
    parser.add_argument(
        "--scenario", choices=[*SCENARIOS], default="standard", help="standard, or 20,000 events and kills"
    )
    parser.add_argument("--faults", type=_kinds, default=None, help=f"of {', '.join(KINDS)} (default: as the scenario)")
    parser.add_argument("--keep", action="store_true", help="keep the histories of good runs, too")
    parser.add_argument(
        "--planted", nargs="*", choices=[*BUGS], default=None, help="see that the checker catches planted bugs"
    )
    parser.add_argument("--report", type=Path, help="the page into which the table of the results is written")
    return parser.parse_args(arguments)


def _kinds(text: str) -> tuple[str, ...]:
    kinds = tuple(text.split(","))
    if unknown := set(kinds) - KINDS.keys():
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return kinds


@contextmanager
def _started() -> Iterator[Parts]:
    """Kafka, PostgreSQL and the proxies, for all runs."""
    with tempfile.TemporaryDirectory(prefix="django-events-chaos-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)  # PostgreSQL runs as another user
        parts = Parts(folder, [*CAST])
        try:
            parts.start()
            parts.make_template(folder)
            yield parts
        finally:
            parts.stop()


def _results(parts: Parts, options: argparse.Namespace) -> Iterator[Result]:
    folder = _new_folder()
    scenario = SCENARIOS[options.scenario]
    scenario = replace(scenario, kinds=options.faults or scenario.kinds)
    first = _first_seed(options)
    end = time.monotonic() + options.minutes * 60
    for number in count():
        if time.monotonic() >= end if options.minutes else number >= options.seeds:
            return
        yield _one(parts, first + number, scenario, folder, keep=options.keep)


def _catch_planted(parts: Parts, options: argparse.Namespace) -> int:
    """Run with each planted bug until it is caught, or its seeds are used up; the exit status."""
    folder = _new_folder()
    needed: dict[str, int | None] = {}
    rules: dict[str, list[str]] = {}
    for bug in [BUGS[name] for name in options.planted or BUGS]:
        print(f"planted: {bug.name}: {bug.what}", flush=True)
        needed[bug.name], rules[bug.name] = _caught(parts, bug, _first_seed(options), folder)
        print(f"caught in seed {needed[bug.name]} of {bug.seeds}\n", flush=True)
    if options.report:
        write_planted(options.report, needed, rules)
    escaped = [name for name, number in needed.items() if number is None]
    print(f"not caught: {', '.join(escaped)}" if escaped else "every planted bug was caught")
    return bool(escaped)


def _caught(parts: Parts, bug: Planted, first_seed: int, folder: Path) -> tuple[int | None, list[str]]:
    """In which seed the bug was caught, and by which rules."""
    for number in range(bug.seeds):
        result = _one(parts, first_seed + number, bug.scenario, folder, keep=False, planted=bug.name)
        if bug.by & result.violations.keys():
            return number + 1, [*result.violations]
    return None, []


def _new_folder() -> Path:
    return CACHE / "chaos" / time.strftime("%Y%m%d-%H%M%S")


def _first_seed(options: argparse.Namespace) -> int:
    return int(time.time()) % 100_000 if options.seed is None else int(options.seed)


def _one(parts: Parts, seed: int, scenario: Scenario, folder: Path, *, keep: bool, planted: str = "") -> Result:
    run = Run(parts, seed, scenario, folder, _sayer(seed), planted)
    started = time.monotonic()
    try:
        result = run.play()
    except Exception:  # a process did not start, or Kafka did not come back: the next seed may tell more
        result = broken_off(seed, planted, run.history.path, traceback.format_exc(), time.monotonic() - started)
    finally:
        run.end()
    (folder / f"seed-{seed}{planted and '-'}{planted}.json").write_bytes(msgspec.json.encode(result))
    print(result, flush=True)
    for text in result.told:
        print(f"\n{text}")
    if result.violations:
        print(f"\nThe history: {result.history}", flush=True)
    elif not keep:
        shutil.rmtree(run.history.path.parent)
    return result


def _sayer(seed: int) -> Callable[[str], None]:
    started = time.monotonic()
    return lambda text: print(f"  seed {seed} {time.monotonic() - started:5.1f} s  {text}", flush=True)


def _end(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


sys.exit(main(sys.argv[1:]))
