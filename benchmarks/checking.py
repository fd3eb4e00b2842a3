"""Whether a run has left the right data: everything there, once, and in the order of its key."""

from collections.abc import Iterable, Mapping

from benchmarks.place import Place
from benchmarks.site import events
from tests.broker import Broker, Seen

ByKey = Mapping[str, list[int]]


def sent(broker: Broker) -> list[Seen]:
    """The records in the topic of the run, each partition's in its order; none if there is no topic."""
    return broker.read(events.measured.name) if broker.exists(events.measured.name) else []


def numbers_sent(records: Iterable[Seen]) -> ByKey:
    """The numbers of each key in the order in which they are in Kafka."""
    return by_key(((record.key or b"").decode(), record.payload["number"]) for record in records)


def by_key(pairs: Iterable[tuple[str, int]]) -> ByKey:
    """The numbers of each key, in the order given."""
    found: dict[str, list[int]] = {}
    for key, number in pairs:
        found.setdefault(key, []).append(number)
    return found


def effects(place: Place) -> ByKey:
    """The numbers of each key in the order in which their effects were written."""
    with place.connect() as connection:
        return by_key(connection.execute("SELECT key, number FROM site_effect ORDER BY id").fetchall())


def rows_left(place: Place, table: str = "django_events_outgoingevent") -> int:
    """How many rows the table has."""
    with place.connect() as connection:
        ((count,),) = connection.execute(f"SELECT count(*) FROM {table}").fetchall()
    return int(count)


def differences(what: str, found: ByKey, expected: ByKey) -> list[str]:
    """What is missing, doubled or out of order, one sentence each, for the first key with such a fault."""
    problems = []
    if extra := sorted(found.keys() - expected.keys()):
        problems.append(f"{what}: there is the key {extra[0]!r}, which nobody made")
    for fault in (_missing, _doubled, _out_of_order):
        keys = [key for key, numbers in expected.items() if fault(found.get(key, []), numbers)]
        if keys:
            problems.append(
                f"{what}: {fault.__name__[1:].replace('_', ' ')} in {len(keys):,} keys, such as {keys[0]!r}: "
                f"{found.get(keys[0], [])[:20]} instead of {expected[keys[0]][:20]}"
            )
    return problems


def _missing(found: list[int], expected: list[int]) -> bool:
    return not set(expected) <= set(found)


def _doubled(found: list[int], expected: list[int]) -> bool:
    return len(found) > len(set(found))


def _out_of_order(found: list[int], expected: list[int]) -> bool:
    return found != sorted(found)
