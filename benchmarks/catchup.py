"""Times waiting rows through one ``catchup`` and through the hand-written loop, in turn, in one run.

usage: python -m benchmarks.catchup [--rows 50000] [--repeat 3] [--json]
Needs DATABASE_URL (PostgreSQL; it makes and drops a database of its own) and KAFKA_BOOTSTRAP_SERVERS.
"""

import argparse
import json
import os
import statistics
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import psycopg


@contextmanager
def database() -> Iterator[str]:
    """A database of our own on the server of DATABASE_URL."""
    given = os.environ["DATABASE_URL"]
    name = f"bench_{uuid.uuid4().hex[:8]}"
    with psycopg.connect(given, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
        try:
            yield urlsplit(given)._replace(path=f"/{name}").geturl()
        finally:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def prepare(url: str, prefix: str) -> None:
    """Set Django up on this database, with its tables."""
    os.environ |= {"DATABASE_URL": url, "EVENTS_PREFIX": prefix, "SEND_AFTER_COMMIT": "false"}
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "testproject.settings")
    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)


def fill(rows: int) -> None:
    """Rows as the test project's shop saves them, of 1,000 keys."""
    from decimal import Decimal

    from django.db import transaction

    from testproject.shop.events import OrderPlaced, order_placed

    for start in range(0, rows, 1_000):
        numbers = range(start, min(start + 1_000, rows))
        with transaction.atomic():
            order_placed.send_many(
                [
                    order_placed.event(OrderPlaced(number, "ann", Decimal("9.90")), key=str(number % 1_000))
                    for number in numbers
                ]
            )


def through_catchup() -> int:
    from django_events.producing.catchup import Catchup
    from django_events.stopping import Stop

    return Catchup(["default"]).run_once(Stop()).sent


def rate(drain: Callable[[], int], rows: int) -> float:
    """Fill, then time the draining: rows per second."""
    fill(rows)
    started = time.perf_counter()
    sent = drain()
    seconds = time.perf_counter() - started
    assert sent == rows, f"{sent} of {rows} rows were sent"
    return rows / seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    prefix = f"bench-{uuid.uuid4().hex[:8]}."
    with database() as url:
        prepare(url, prefix)
        found = measure(url, prefix, options.rows, options.repeat)
        from django.db import connections

        connections.close_all()
    print(json.dumps(found) if options.json else report(found))


def measure(url: str, prefix: str, rows: int, repeat: int) -> dict[str, object]:
    from benchmarks.handwritten import drain

    loops = {
        "handwritten": lambda: drain(url, os.environ["KAFKA_BOOTSTRAP_SERVERS"], prefix),
        "catchup": through_catchup,
    }
    fill(100)
    through_catchup()  # makes the topic
    rates: dict[str, list[float]] = {name: [] for name in loops}
    for _ in range(repeat):
        for name, loop in loops.items():
            rates[name].append(rate(loop, rows))
    ratio = statistics.median(rates["catchup"]) / statistics.median(rates["handwritten"])
    return {"rows": rows, "rates": rates, "ratio": ratio}


def report(found: dict[str, object]) -> str:
    rates = found["rates"]
    assert isinstance(rates, dict)
    lines = [f"{found['rows']:,} waiting rows, median of {len(rates['catchup'])} runs each, in turn"]
    lines += [
        f"  {name:<12} {statistics.median(each):>8,.0f} rows/s   ({', '.join(f'{one:,.0f}' for one in each)})"
        for name, each in rates.items()
    ]
    lines.append(f"  catchup reaches {found['ratio']:.2f} of the hand-written loop")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
