"""What a consumer's client says of itself every few seconds: where partitions end, which leaders it reaches, and that
it lives.

librdkafka works for each client in a thread of its own. Should that hang, as when it and the thread of a broker that
goes wait for each other (librdkafka#5476), no record comes any more, and nothing else shows it. The client must not be
asked: many of its calls wait for that thread, some of them while they hold Python's lock, and then the whole process
stands still for ever.
"""

import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from django_events.kafka import names
from django_events.kafka.record import Partition

NOTHING_KNOWN = -1

INTERVAL = "statistics.interval.ms"

SILENT = 30.0
"""Seconds of looks in vain after which a client is taken to hang: six times the interval, unless the site has another
one. Its broker gives its partitions to others after 45, because it sends no heartbeats either."""

STANDSTILL = 2.0
"""Seconds between two looks after which it was this process that stood still, or waited: they do not count."""

CHANCE = 0.2
"""Of all that time, what the client has at least after a standstill, to speak: more than its interval."""


class Statistics:
    """The ``stats_cb`` of one client, which librdkafka calls inside of ``poll``. Used by one thread alone."""

    def __init__(self, options: Mapping[str, Any], default_interval: int) -> None:
        """``options`` are those of the client; ``default_interval``, in milliseconds, is for a site that wants none."""
        self._site_wants = options.get("stats_cb")
        interval = _milliseconds(options.get(INTERVAL)) or default_interval
        self.options: dict[str, Any] = {"stats_cb": self, INTERVAL: interval}
        """What the client is to be made with."""
        self._longest = max(SILENT, 6 * interval / 1000)
        self._heard_at = self._looked_at = time.monotonic()
        self._text = ""
        self._read: _Figures | None = None

    def __call__(self, text: str) -> None:
        """The client lives. Calls the site's own function, and raises what that raises."""
        self._heard_at, self._text, self._read = time.monotonic(), text, None
        if self._site_wants:
            self._site_wants(text)

    def hangs(self) -> bool:
        """Whether the client has not been heard of for too long although its owner has looked all the time. To be asked
        at each look."""
        now = time.monotonic()
        if now - self._looked_at > STANDSTILL:
            silence = min(self._looked_at - self._heard_at, self._longest * (1 - CHANCE))
            self._heard_at = now - silence
        self._looked_at = now
        return now - self._heard_at > self._longest

    @property
    def is_silent(self) -> bool:
        """Whether it has not been heard of for more than two intervals. Not known to be where nobody has looked."""
        now = time.monotonic()
        has_looked = now - self._looked_at <= STANDSTILL
        return has_looked and now - self._heard_at > 2 * self.options[INTERVAL] / 1000 + 1

    def be_patient(self) -> None:
        """Let the silence begin anew."""
        self._heard_at = time.monotonic()

    def known_end(self, partition: Partition) -> int:
        """The partition's end as the last figures had it; -1 if they had none."""
        found = self._figures.partition(partition)
        return max(found.hi_offset, NOTHING_KNOWN) if found else NOTHING_KNOWN

    def cut_off(self, partitions: Iterable[Partition]) -> list[Partition] | None:
        """Those of the partitions that had no leader, or one that the client was not connected with, when it spoke
        last. None before it has spoken."""
        if not self._text:
            return None
        reached = self._reached
        known = [(each, self._figures.partition(each)) for each in partitions]
        return [each for each, found in known if found and (found.broker < 0 or found.broker not in reached)]

    @property
    def reaches_any(self) -> bool:
        """Whether the client was connected with any broker when it spoke last. Also until it has spoken, but not while
        it is silent."""
        return not self.is_silent and (not self._text or bool(self._reached))

    @property
    def _reached(self) -> set[int]:
        """The brokers that the client was connected with; of some it does not know the number, which is -1 then."""
        return {broker.nodeid for broker in self._figures.brokers.values() if broker.state not in _NOT_CONNECTED}

    @property
    def _figures(self) -> "_Figures":
        """What it said last; nothing before that."""
        if self._read is None:
            self._read = _decoder.decode(self._text or "{}")
        return self._read


_NOT_CONNECTED = frozenset(("INIT", "DOWN", "TRY_CONNECT", "CONNECT"))
"""States of a broker; all others have a connection, even if that is only being set up or proved once more."""


class _Partition(msgspec.Struct):
    hi_offset: int = NOTHING_KNOWN
    broker: int = -1
    """Which one it is read from."""


class _Topic(msgspec.Struct):
    partitions: dict[str, _Partition] = {}


class _Broker(msgspec.Struct):
    nodeid: int = -1
    state: str = ""


class _Figures(msgspec.Struct):
    """What is read of librdkafka's STATISTICS.md."""

    topics: dict[str, _Topic] = {}
    brokers: dict[str, _Broker] = {}

    def partition(self, partition: Partition) -> _Partition | None:
        """What is said of this one."""
        topic = self.topics.get(names.on_wire(partition.topic))
        return topic.partitions.get(str(partition.number)) if topic else None


_decoder = msgspec.json.Decoder(_Figures)


def _milliseconds(given: object) -> int:
    """The interval that the site has set; 0 if it has set none, or what librdkafka will refuse."""
    text = str(given).strip()
    return int(text) if text.isdigit() else 0
