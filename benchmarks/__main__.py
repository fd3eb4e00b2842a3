"""Measures the product against loops written by hand, in turn, in one run, on a real Kafka and PostgreSQL.

usage: ./dev bench [SCENARIO …] [--quick] [--only TEXT] [--most N] [--repeat N] [--json FILE] [--compare FILE]

The exit status is 1 if the data of a run was wrong, or a run did not come to an end.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks import report, result, scenarios
from benchmarks.machine import about_servers, about_this_run
from benchmarks.measuring import Measuring
from benchmarks.place import migrated_database
from benchmarks.result import Result
from benchmarks.variant import Variant
from benchmarks.warming import warm_up


def main(arguments: Sequence[str]) -> int:
    options = _options(arguments)
    before = result.load(options.compare) if options.compare else []
    repeats = options.repeat or (1 if options.quick else 3)
    found = _measure_all(options.variants, repeats, quick=options.quick, file=options.json)
    if before:
        print(f"\nCompared with {options.compare}:", *report.comparison(found, before), sep="\n")
    wrong = [each.name for each in found if not each.correct]
    if wrong:
        print(f"\nFAILED, because a run broke or left wrong data: {', '.join(wrong)}", file=sys.stderr)
    return 1 if wrong else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="./dev bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = ", ".join(scenarios.NAMES)
    parser.add_argument("scenarios", nargs="*", metavar="SCENARIO", help=f"default: all of {names}")
    parser.add_argument("--quick", action="store_true", help="small sizes and one run each: shows that all works")
    parser.add_argument("--only", default="", metavar="TEXT", help="only variants that have this text in their name")
    parser.add_argument("--most", type=int, metavar="N", help="no more than the first N variants of each scenario")
    parser.add_argument("--repeat", type=int, metavar="N", help="runs of each side (default: 3; with --quick 1)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results to this file")
    parser.add_argument("--compare", type=Path, metavar="FILE", help="say what has changed since this file")
    options = parser.parse_args(arguments)
    if unknown := sorted(set(options.scenarios) - set(scenarios.NAMES)):
        parser.error(f"there is no scenario {unknown[0]!r}; choose from {names}")
    if options.repeat is not None and options.repeat < 1:
        parser.error(f"--repeat {options.repeat}: give a number of at least 1")
    options.variants = _variants(parser, options)
    if options.compare:
        try:
            result.load(options.compare)
        except ValueError as error:
            parser.error(f"--compare {error}")
    if options.json and not options.json.absolute().parent.is_dir():
        parser.error(f"--json {options.json}: there is no folder {options.json.absolute().parent}")
    for variable in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        if not os.environ.get(variable):
            parser.error(f"{variable} is not set; run ./dev bench, which starts what is missing")
    return options


def _variants(parser: argparse.ArgumentParser, options: argparse.Namespace) -> list[Variant]:
    found = []
    for name in options.scenarios or scenarios.NAMES:
        wanted = [each for each in scenarios.variants(name, quick=options.quick) if options.only in each.name]
        found += wanted[: options.most]
    if not found:
        parser.error(f"no variant of {', '.join(options.scenarios)} has {options.only!r} in its name")
    return found


def _measure_all(variants: Sequence[Variant], repeats: int, *, quick: bool, file: Path | None) -> list[Result]:
    """The results of all; the file has those of the variants that are through."""
    server, bootstrap_servers = os.environ["DATABASE_URL"], os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    found: list[Result] = []
    about = about_this_run(quick=quick) | {"servers": about_servers(server, bootstrap_servers)}
    with migrated_database(server) as migrated:
        _say("warming Kafka up")
        warm_up(bootstrap_servers, records=2_000 if quick else 200_000)
        measuring = Measuring(server, bootstrap_servers, migrated, repeats, about)
        for number, variant in enumerate(variants, 1):
            name = f"[{number} of {len(variants)}] {variant.scenario} {variant.name}"
            if reason := variant.missing():
                print(f"{name}: LEFT OUT. {reason}", flush=True)
                continue
            results = measuring.measure(variant, lambda text, name=name: _say(f"{name}: {text}"))  # type: ignore[misc]
            found += results
            if file:
                result.save(found, file)  # now: whatever ends the rest, an hour's figures are kept
            _say("")
            print(*report.lines(results), sep="\n", flush=True)
    return found


def _say(text: str) -> None:
    """Progress: one line that changes in a terminal, lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
