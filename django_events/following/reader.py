"""The thread that reads all partitions of some topics from now on, and gives each record to those who want it."""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Protocol

from django_events import metrics
from django_events.exceptions import BrokerUnavailable, DeclarationError, KafkaRefused
from django_events.following import heartbeat
from django_events.following.change import Place
from django_events.following.discovery import discover
from django_events.following.freshness import Freshness
from django_events.following.gap import Gap
from django_events.following.looks import Looks
from django_events.following.reach import Reach
from django_events.kafka.consumer import LONGEST_POLL
from django_events.kafka.following import AtEnd, Follower, NotThere, TopicInKafka
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.retry import Backoff

logger = logging.getLogger("django_events.broadcast")

LOOK_EVERY = 10.0
"""Seconds between two looks for new partitions and topics that were made again."""

LOOK_AGAIN = 0.5
"""Seconds between two looks at least, also where Kafka does not have what comes next."""

REFUSED = 2.0
"""Seconds between two looks while there is a topic that Kafka does not let us read."""

AGAIN = Backoff(first=0.2, max=5.0)
"""Seconds between two tries while Kafka does not answer or refuses."""

READ_AT_ONCE = 500  # records between two looks at everything else
ROOM = 0.05  # seconds between two looks at whether there is room again


class Feed(Protocol):
    """Who wants records. ``add`` and ``missed`` are called in the reader's thread, must not block and never raise."""

    @property
    def topics(self) -> Collection[str]:
        """The topics whose records it wants; may change."""

    @property
    def is_full(self) -> bool:
        """Whether it has no room for more at present."""

    def add(self, record: ReceivedRecord) -> None:
        """The next record."""

    def missed(self, gap: Gap) -> None:
        """What comes next does not follow on what came before."""


class Reader(threading.Thread):
    """Reads for some feeds until it is stopped. Otherwise only wrong settings end it, and ``error`` says so; after
    anything else it starts its client again.

    A feed that is full gets a reader of its own, so that it holds up no other; a reader whose only feed is full waits.
    """

    def __init__(
        self,
        feeds: Sequence[Feed],
        split_off: Callable[["Reader"], None],
        on_change: Callable[[str], None],
        place: Place | None = None,
        *,
        number: int = 1,
        is_wanted: Callable[[], bool] = lambda: True,
    ) -> None:
        """``split_off`` gets each reader that a full feed needs for itself, and is to start it; that one goes on at a
        ``place``. ``on_change`` gets lines for people. ``is_wanted`` is asked in each round; after a no the reader
        ends. All are called in this thread.
        """
        super().__init__(name=f"django-events-broadcast-reader-{number}", daemon=True)
        self.error: BaseException | None = None
        """What ended it, if nobody stopped it."""
        self.left_running = False  # it runs no handlers
        self.trouble = ""
        """Why it has to wait at present. Other threads may read it."""
        self.refused: Mapping[str, KafkaRefused] = {}
        """The topics that feeds want and Kafka does not let us read, and why. Other threads may read it."""
        self.feeds = list(feeds)
        """Changed by the reader's thread alone."""
        self.ready = threading.Event()
        """Set when it is known of every topic where to begin: no later event is missed."""
        self.turned_at = float("-inf")
        """The moment (time.monotonic) of the last round. Other threads may read it."""
        self._split_off = split_off
        self._on_change = on_change
        self._is_wanted = is_wanted
        self._look_again = threading.Event()
        self._looks = Looks()
        self._place = place or Place({}, {})
        self._number = number
        self._freshness = Freshness()
        self._stopping = threading.Event()
        self._begins = place is None
        self._look_due = 0.0
        self._looked_at = float("-inf")
        self._failures = 0
        self._lost: set[Partition] = set()
        self._reach = Reach()
        self._wanting: dict[str, list[Feed]] = {}

    # ── from other threads ───────────────────────────────────────────────────────────────────────────────────────

    @property
    def latency(self) -> float:
        """Seconds since the sending of the newest record that was read; infinite before it is ready."""
        return self._freshness.latency

    def latency_of(self, feed: Feed) -> float:
        """The same for one feed: infinite while Kafka does not let us read one of its topics, and at least the time for
        which a partition of one could not be read, whatever came of others meanwhile."""
        if any(topic in self.refused for topic in feed.topics):
            return float("inf")
        return max(self.latency, self._reach.seconds_without(feed.topics))

    def follow(self, topic: str, timeout: float) -> bool:
        """Wait until this topic, which a feed wants by now, is read to the end that it had after this call; False if
        that takes longer than so many seconds, or the reader has ended."""
        if not self._looks.have_seen(topic):
            number = self._looks.ask()
            self._look_again.set()
            return self._looks.wait(number, timeout)
        return True

    def stop(self, timeout: float = 0.0) -> None:
        """End, whatever ``timeout`` says. Thread-safe, idempotent; returns at once. Then ``join``."""
        self._stopping.set()

    # ── the thread ───────────────────────────────────────────────────────────────────────────────────────────────

    def run(self) -> None:
        try:
            self._read_on()
        except BaseException as error:
            logger.exception("The reader of broadcast events ended")
            self.error = error
            self._looks.end()

    def _read_on(self) -> None:
        while self._goes_on():
            self.turned_at = time.monotonic()
            try:
                self._follow()
            except DeclarationError:  # also of settings: no other try would mend it
                raise
            except BrokerUnavailable as error:  # of a function in the settings that has no password
                self._wait_after(error)
            except Exception as error:
                logger.exception("The reader of broadcast events failed; it starts again where it was")
                self._wait_after(error)

    def _follow(self) -> None:
        """Read with one client, until the stop."""
        follower = Follower("The reader of broadcast events")
        try:
            follower.assign(self._place.offsets)
            self._look_due = 0.0
            while self._goes_on():
                self._turn(follower)
        finally:
            follower.close()

    def _goes_on(self) -> bool:
        if not self._stopping.is_set() and not self._is_wanted():
            self._stopping.set()  # for good: whoever wants it now has another
        return not self._stopping.is_set()

    def _turn(self, follower: Follower) -> None:
        """One round of everything."""
        self.turned_at = time.monotonic()
        is_due = self.turned_at >= self._look_due or self._look_again.is_set()
        if is_due and not follower.is_silent:
            self._look(follower)
        self._split_off_the_full()
        if self.feeds and all(feed.is_full for feed in self.feeds):
            self._stopping.wait(ROOM)
        else:
            self._read(follower)
            self._reach.note(follower.cut_off, self.turned_at)

    def _read(self, follower: Follower) -> None:
        timeout = LONGEST_POLL
        for _ in range(READ_AT_ONCE):
            polled = follower.poll(timeout)
            timeout = 0.0
            if polled is None:
                self._freshness.nothing_more()
                return
            if isinstance(polled, NotThere):
                self._not_there(polled.partition)
            elif isinstance(polled, AtEnd):
                self._freshness.at_end(polled.partition)
            elif polled.partition in self._place.offsets:
                self._give(polled)

    def _give(self, record: ReceivedRecord) -> None:
        self._place.offsets[record.partition] = record.offset + 1
        for feed in self._wanting.get(record.topic, ()):
            feed.add(record)
        self._freshness.read(record)

    def _not_there(self, partition: Partition) -> None:
        """Kafka does not have what comes next: look soon, but not again and again."""
        self._lost.add(partition)
        self._look_due = min(self._look_due, self._looked_at + LOOK_AGAIN)

    def _split_off_the_full(self) -> None:
        """Let each full feed go on at its own pace, unless it is the only one here."""
        full = [feed for feed in self.feeds if feed.is_full]
        while full and len(self.feeds) > 1:
            feed = full.pop()
            self._number += 1
            logger.warning("%s does not keep up with its events; it gets a reader of its own and misses none", feed)
            other = Reader([feed], self._split_off, self._on_change, self._place.copy(), number=self._number)
            other._freshness.complete(self._freshness.sent)
            self._split_off(other)
            self.feeds.remove(feed)
            self._sort_feeds()

    # ── topics and partitions ────────────────────────────────────────────────────────────────────────────────────

    def _look(self, follower: Follower) -> None:
        """See which partitions there are, and begin to read those that are new."""
        self._look_again.clear()
        number = self._looks.begun()
        try:
            self._look_once(follower)
        except (BrokerUnavailable, KafkaRefused) as error:
            self._look_due = self._wait_after(error, block=False)
        else:
            if self._failures:
                logger.warning("The reader of broadcast events is at work again")
            self._failures = 0
            self.trouble = ". ".join(map(str, self.refused.values()))
            self._looks.made(number, self._wanting.keys() - self.refused.keys())
            self._looked_at = time.monotonic()
            self._look_due = self._looked_at + (min(REFUSED, LOOK_EVERY) if self.refused else LOOK_EVERY)

    def _look_once(self, follower: Follower) -> None:
        self._sort_feeds()
        wanted = {*self._wanting, heartbeat.TOPIC}
        since, found, change = discover(follower, wanted, self._place, self._lost)
        if change.changes_anything:
            follower.assign(change.place.offsets)
            for gap in change.gaps:
                self._say_missed(gap)
        self._place = change.place
        shown = {topic for topic, now in found.items() if isinstance(now, TopicInKafka)}
        self._lost = {each for each in self._lost & change.place.offsets.keys() if each.topic not in shown}
        self.refused = {
            topic: now for topic, now in found.items() if topic in self._wanting and isinstance(now, KafkaRefused)
        }
        if not self.refused and not self.ready.is_set():
            self._say_ready(since, self._wanting.keys() - found.keys())

    def _say_ready(self, since: float, absent: Iterable[str]) -> None:
        """From this moment on nothing is missed."""
        if self._begins:
            self._freshness.complete(since)
            for topic in sorted(absent):
                self._on_change(f"waits for topic {topic}, which Kafka does not have")
            self._on_change(f"reads {', '.join(sorted(self._wanting))} from now on")
        self.ready.set()

    def _sort_feeds(self) -> None:
        wanting: dict[str, list[Feed]] = {}
        for feed in self.feeds:
            for topic in feed.topics:
                wanting.setdefault(topic, []).append(feed)
        self._wanting = wanting

    def _say_missed(self, gap: Gap) -> None:
        for feed in self._wanting.get(gap.topic, ()):
            feed.missed(gap)

    def _wait_after(self, error: Exception, *, block: bool = True) -> float:
        """Something does not work: the moment at which it is tried again; with ``block`` it has come. Said when it is
        new."""
        is_new = not self._failures or str(error) != self.trouble
        self._failures += 1
        self.trouble = str(error)
        metrics.ERRORS.of("broadcast").add()
        if is_new:
            logger.warning("The reader of broadcast events waits: %s. It goes on where it was", error)
        delay = AGAIN.delay(self._failures)
        if block:
            self._stopping.wait(delay)
        return time.monotonic() + delay
