"""How long topics keep their events, beside how long it is remembered that they are processed.

Blocking; the wait is bounded. Thread-safe: each call uses a client of its own.
"""

from collections.abc import Collection, Mapping
from datetime import timedelta

from django_events.conf import settings
from django_events.kafka import names, spec, topics

RETENTION_MS = "retention.ms"


def problems(sources: Collection[str], timeout: float) -> list[str]:
    """A sentence for each of these topics that keeps events longer than PROCESSED_RETENTION.

    Topics that Kafka does not have, or does not tell of within ``timeout`` seconds, are passed over.
    """
    remembered = settings.PROCESSED_RETENTION
    if remembered is None or not sources:
        return []
    admin, _ = topics.client()
    found = topics.configs(sorted(sources), admin, timeout)
    kept = {topic: _kept(config) for topic, config in found.items()}
    longer = [(topic, time) for topic, time in kept.items() if time is None or time > remembered]
    return [_sentence(topic, time, remembered) for topic, time in longer]


def in_words(time: timedelta) -> str:
    """The time for people to read, such as ``30 days``."""
    return str(time).removesuffix(", 0:00:00")


def _kept(config: Mapping[str, str]) -> timedelta | None:
    """How long the topic keeps an event; None: for ever, or for so long that no calendar has it."""
    deletes = "delete" in config.get(spec.CLEANUP_POLICY, "delete")
    milliseconds = int(config.get(RETENTION_MS, 0))
    if not deletes or milliseconds < 0:
        return None
    try:
        return timedelta(milliseconds=milliseconds)
    except OverflowError:
        return None


def _sentence(topic: str, kept: timedelta | None, remembered: timedelta) -> str:
    how_long = f"for {in_words(kept)}" if kept else "for ever"
    return (
        f"The topic {names.on_wire(topic)!r} keeps events {how_long}, but the setting PROCESSED_RETENTION is "
        f"{in_words(remembered)}: an event that is read once more after that has its effects once more. Make "
        f"PROCESSED_RETENTION longer, or the topic's {RETENTION_MS} shorter."
    )
