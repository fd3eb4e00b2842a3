"""One librdkafka consumer of a group: records come out of ``poll``, changes of assignment go to a listener.

Owned by one thread: in librdkafka's Python client every call waits while another thread is in ``poll``.
"""

import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from operator import methodcaller
from typing import Protocol

import confluent_kafka
from confluent_kafka import OFFSET_INVALID, KafkaError, KafkaException, TopicPartition

from django_events.exceptions import BrokerUnavailable, ConsumerFailed
from django_events.kafka import clients, config, names
from django_events.kafka.consumer_troubles import Troubles
from django_events.kafka.record import Headers, Partition, ReceivedRecord
from django_events.kafka.starting import Start, first_offsets
from django_events.kafka.statistics import Statistics
from django_events.log_fields import fields

logger = logging.getLogger("django_events.kafka")

LONGEST_POLL = 0.1
"""Seconds. From 0.2 on the Python client throws a fetched record away when a callback raises inside ``poll``."""

AT_ONCE = 20
"""Records that one call takes over from librdkafka, where it has so many. Each call gives Python's lock away, and gets
it back from threads that are busy with handlers: that costs more than all else that is done for a record here."""

LONGEST_COMMIT = 300.0
"""Seconds after which the answer to a commit is not waited for any more: librdkafka gives up before. It waits for a
coordinator that hangs three times, for a minute each (``socket.timeout.ms``)."""

MADE_AGAIN = 0.5
"""Seconds within which librdkafka has made a refused commit again: after 0.1 and 0.2 more, give or take a fifth."""

TAKING_OVER = 3.0
"""Seconds for which a commit with ``wait`` is made again while a coordinator takes over. What is not committed then is
handled again."""


class Listener(Protocol):
    """Is told of changes of the assignment, inside ``poll`` or ``close`` and in their thread."""

    def assigned(self, partitions: list[Partition]) -> None:
        """These partitions are ours from now on."""

    def revoked(self, partitions: list[Partition]) -> None:
        """These will be another's as soon as this returns; offsets can still be committed."""

    def lost(self, partitions: list[Partition]) -> None:
        """These are another's already; their offsets must not be committed."""


class Consumer:
    """A consumer of one group, with manual offsets. Not thread-safe; no call waits for long."""

    def __init__(
        self,
        group: str,
        topics: Iterable[str],
        listener: Listener,
        *,
        start: Start = "earliest",
        is_stopping: Callable[[], bool] = lambda: False,
    ) -> None:
        """Subscribe. Raises SettingsError for options that lose events. Does not wait for Kafka.

        ``start`` is where the group begins where it has no offset yet. Kafka is asked for the group's offsets in
        ``poll``, for up to a minute; if ``is_stopping`` says so meanwhile, the listener does not hear of what is
        assigned.
        """
        self._group = group
        self._wire_topics = [names.on_wire(topic) for topic in topics]
        self._listener = listener
        self._troubles = Troubles(f"Group {group}")
        self._raised: list[BaseException] = []
        self._fetched: deque[ReceivedRecord] = deque()
        """Taken over from librdkafka, and not polled yet."""
        self._assigned: set[Partition] = set()
        self._paused: set[Partition] = set()
        self._uncommitted: set[Partition] = set()
        self._unanswered: dict[Partition, int] = {}
        self._asked_at = 0.0
        self._begins: dict[Partition, int | None] = {}
        self._commit_trouble = ""
        self.committed_at: float | None = None
        """When Kafka last took offsets, in seconds since 1970."""
        self._start = start
        self._is_stopping = is_stopping
        self._partitions = names.Partitions()
        self._client, self._statistics = self._join()

    def _join(self) -> tuple[confluent_kafka.Consumer, Statistics]:
        """A client that has subscribed, and what it says of itself. Raises as the constructor."""
        options = config.consumer_options(self._group) | {"on_commit": self._on_commit, "error_cb": self._troubles}
        statistics = Statistics(options, config.STATISTICS)
        client = clients.make(confluent_kafka.Consumer, options | statistics.options)
        self._is_incremental = config.shares_by_increments(options)
        client.subscribe(
            self._wire_topics,
            on_assign=self._tell(self._listener.assigned, self._begin_at),
            on_revoke=self._tell(self._listener.revoked),
            on_lost=self._tell(self._listener.lost),
        )
        return client, statistics

    def poll(self, timeout: float) -> ReceivedRecord | None:
        """The next record, or None if there is none within ``timeout`` seconds (0.1 at most).

        Raises ConsumerFailed if this consumer can never go on, and what the listener raised.
        """
        if self._raised:
            raise self._raised.pop(0)
        if record := self._take_fetched():
            return record
        self._troubles.renew_credentials(self._client)
        if self._statistics.hangs():
            self._replace_client()
        for polled in self._fetch(min(timeout, LONGEST_POLL)):
            if error := polled.error():
                self._note_error(error, polled.topic(), polled.partition())
            else:
                self._fetched.append(received(polled, self._partitions[polled.topic(), polled.partition()]))
        return self._take_fetched()

    def _replace_client(self) -> None:
        """Have another client join in place of one that hangs; what that had is lost. It is kept for ever, because to
        close it would hang, too."""
        extra = fields(group=self._group)
        try:
            client, statistics = self._join()
        except BrokerUnavailable as error:  # there is no password or token at present
            self._statistics.be_patient()
            text = "Group %s: its client hangs, and there cannot be another one yet: %s"
            logger.error(text, self._group, error, extra=extra)
            return
        text = "Group %s: its client hangs (librdkafka#5476). Another one takes its place"
        logger.error(text, self._group, extra=extra)
        clients.never_destroy(self._client)
        self._client, self._statistics = client, statistics
        lost = sorted(self._assigned)
        self._fetched.clear()
        self._assigned.clear()
        self._paused.clear()
        self._uncommitted.clear()
        self._unanswered = {}
        if lost:
            self._listener.lost(lost)

    def _fetch(self, timeout: float) -> list[confluent_kafka.Message]:
        """What librdkafka has: some messages at once, or the first that comes in time. ``consume`` with a time-out
        would wait for more although there is one."""
        if not timeout:
            found: list[confluent_kafka.Message] = self._client.consume(AT_ONCE, 0.0)
            return found
        polled = self._client.poll(timeout)
        return [] if polled is None else [polled]

    def _take_fetched(self) -> ReceivedRecord | None:
        """The first record that is there, and not of a paused partition: what that has waits until it goes on."""
        if not self._paused:
            return self._fetched.popleft() if self._fetched else None
        for record in self._fetched:
            if record.partition not in self._paused:
                self._fetched.remove(record)
                return record
        return None

    @property
    def member_id(self) -> str:
        """What Kafka calls this consumer, since it has joined."""
        return self._client.memberid() or ""

    def pause(self, partition: Partition) -> None:
        """Fetch nothing more of this partition."""
        self._paused.add(partition)
        self._quietly(self._client.pause, [topic_partition(partition)])

    def resume(self, partition: Partition) -> None:
        """Fetch from this partition again."""
        self._paused.discard(partition)
        self._quietly(self._client.resume, [topic_partition(partition)])

    @property
    def is_committing(self) -> bool:
        """Whether Kafka has yet to answer a commit without ``wait``: another one has to wait for that.

        librdkafka makes a commit again by itself that a coordinator refuses for the moment, because it is only taking
        over. It may then come after a later one, and take the group's offset back.
        """
        return bool(self._unanswered) and time.monotonic() - self._asked_at < LONGEST_COMMIT

    def commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> None:
        """Commit the next offset to read of each partition. Without ``wait``, never while ``is_committing``.

        The partitions of a failed commit appear in ``take_uncommitted``, with ``wait`` at once, else later.
        """
        if not wait:
            self._unanswered, self._asked_at = dict(offsets), time.monotonic()
            self._commit(offsets, wait=False)
            return
        overtakes = self.is_committing and any(self._unanswered.get(each, at) != at for each, at in offsets.items())
        if self._commit_for_good(offsets) and overtakes:  # what was before may come once more: ours is to be the last
            time.sleep(MADE_AGAIN)
            self._unanswered = {}
            self._commit_for_good(offsets)

    def _commit_for_good(self, offsets: Mapping[Partition, int]) -> bool:
        """Commit with ``wait``, and longer than librdkafka tries where Kafka refuses only for the moment. Whether it is
        committed."""
        deadline = time.monotonic() + TAKING_OVER
        while error := self._commit(offsets, wait=True):
            if error.code() not in _FOR_THE_MOMENT or time.monotonic() >= deadline:
                return False
            time.sleep(LONGEST_POLL)
        return True

    def _commit(self, offsets: Mapping[Partition, int], *, wait: bool) -> KafkaError | None:
        """What is known at once of what went wrong."""
        wanted = [topic_partition(partition, offset) for partition, offset in offsets.items()]
        try:
            answers = self._client.commit(offsets=wanted, asynchronous=not wait) or []
        except KafkaException as error:
            self._on_commit(error.args[0], wanted)
            return error.args[0]
        if answers:
            self._on_commit(None, answers)
        return next((each.error for each in answers if each.error), None)

    def begins_at(self, partition: Partition) -> int | None:
        """Where this partition is read from since it was last assigned; None if the group had no offset in it."""
        return self._begins.get(partition)

    def known_begin(self, partition: Partition) -> int:
        """The partition's first offset as Kafka had it at the last fetch; below zero if the client does not know it.
        Asks nobody but the client's memory: to be asked about a partition that has just delivered something."""
        try:
            found = self._client.get_watermark_offsets(topic_partition(partition), cached=True)
        except KafkaException:  # it has forgotten the partition
            return -1
        return found[0] if found else -1

    def known_end(self, partition: Partition) -> int:
        """The partition's end as the client knew it up to five seconds ago; -1 if it did not."""
        return self._statistics.known_end(partition)

    @property
    def reaches_kafka(self) -> bool:
        """Whether it was connected with any broker up to five seconds ago."""
        return self._statistics.reaches_any

    def take_uncommitted(self) -> set[Partition]:
        """The partitions whose last commit failed; empty until the next failure."""
        found, self._uncommitted = self._uncommitted, set()
        return found

    def close(self) -> None:
        """Leave the group at once; the listener hears ``revoked`` for all that is still assigned."""
        self._client.close()

    def _begin_at(self, partitions: list[TopicPartition]) -> bool:
        """Take these partitions on where the group is, or where it is to begin; False if it is to stop instead."""
        offsets = first_offsets(self._client, partitions, self._start, self._is_stopping)
        if offsets is None:
            return False
        for each in offsets:
            partition = Partition(names.off_wire(each.topic), each.partition)
            self._begins[partition] = each.offset if each.offset >= 0 else None
        assign = self._client.incremental_assign if self._is_incremental else self._client.assign
        assign(offsets)
        return True

    def _tell(
        self,
        listen: Callable[[list[Partition]], None],
        prepare: Callable[[list[TopicPartition]], bool] | None = None,
    ) -> Callable[..., None]:
        """A callback that keeps what ``listen`` raises for the next ``poll``: raised here, it would lose records."""

        def callback(_client: object, partitions: list[TopicPartition]) -> None:
            try:
                told = {Partition(names.off_wire(each.topic), each.partition) for each in partitions}
                self._fetched = deque(record for record in self._fetched if record.partition not in told)
                self._assigned -= told
                if prepare:
                    if not prepare(partitions):
                        return
                    self._assigned |= told
                listen([Partition(names.off_wire(each.topic), each.partition) for each in partitions])
            except BaseException as error:
                text, extra = "Group %s could not follow a change of its assignment", fields(group=self._group)
                logger.exception(text, self._group, extra=extra)
                self._raised.append(error)

        return callback

    def _on_commit(self, error: KafkaError | None, partitions: list[TopicPartition]) -> None:
        """The answer to a commit. Logged when it changes: while Kafka is away there is one each second."""
        try:
            told = {Partition(names.off_wire(each.topic), each.partition): each.offset for each in partitions}
            if told == self._unanswered or not told:
                self._unanswered = {}
            failed = [each for each in partitions if error or each.error]
            if error and error.code() == KafkaError._NO_OFFSET:
                return
            self._uncommitted |= {Partition(names.off_wire(each.topic), each.partition) for each in failed}
            self._say_of_commits((error or failed[0].error).str() if failed else "")
            if not failed:
                self.committed_at = time.time()
        except Exception:
            text, extra = "Group %s could not read the answer to a commit", fields(group=self._group)
            logger.exception(text, self._group, extra=extra)

    def _say_of_commits(self, trouble: str) -> None:
        """Why offsets could not be committed, empty if they could: one line for each change."""
        before, self._commit_trouble = self._commit_trouble, trouble
        if trouble and trouble != before:
            text, extra = "Group %s could not commit offsets: %s. It tries again", fields(group=self._group)
            logger.warning(text, self._group, trouble, extra=extra)
        elif before and not trouble:
            text, extra = "Group %s: committing offsets works again", fields(group=self._group)
            logger.warning(text, self._group, extra=extra)

    def _note_error(self, error: KafkaError, wire_topic: str | None, partition: int | None) -> None:
        code = error.code()
        if code == KafkaError._FATAL or error.fatal():
            raise ConsumerFailed(f"The consumer of group {self._group!r} cannot go on: {_reason(error)}")
        if code == KafkaError._PARTITION_EOF:
            return
        if not wire_topic:
            self._troubles.say_once((code,), f"Group {self._group} has trouble: {error.str()}. It goes on")
            return
        otherwise = (
            "otherwise stop the group and have it read on behind the batch: manage.py events groups --reset "
            f"{self._group} --topic {names.off_wire(wire_topic)} --partition {partition} --to OFFSET"
        )
        self._troubles.say_of_partition(error, f"{wire_topic}[{partition}]", otherwise)

    def _quietly(self, act: Callable[[list[TopicPartition]], None], partitions: list[TopicPartition]) -> None:
        try:
            act(partitions)
        except KafkaException as error:  # not ours any more: the listener has heard, or will
            logger.debug("Group %s: %s", self._group, error.args[0].str())


_FOR_THE_MOMENT = frozenset(
    (
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.NOT_COORDINATOR,
        KafkaError.REQUEST_TIMED_OUT,
    )
)
"""How a coordinator refuses a commit that is only taking over, or whose copies are."""

_TWO_OF_ONE_ID = tuple(
    KafkaError(code).str() for code in (KafkaError.FENCED_INSTANCE_ID, KafkaError.UNRELEASED_INSTANCE_ID)
)
"""How the reason ends when two processes are the same member: the classic protocol ends the older one, the protocol
``consumer`` the newer one."""


def _reason(error: KafkaError) -> str:
    """Why the consumer has ended, and where we know it, what to do."""
    if not error.str().endswith(_TWO_OF_ONE_ID):
        return str(error.str())
    return (
        "another process is this member of the group. Give each a 'group.instance.id' of its own, or none; a process "
        f"that was killed stays a member until its session time-out is over. ({error.str()})"
    )


def topic_partition(partition: Partition, offset: int = OFFSET_INVALID) -> TopicPartition:
    """What librdkafka calls a partition; without an offset it is only a name."""
    return TopicPartition(names.on_wire(partition.topic), partition.number, offset)


def received(polled: confluent_kafka.Message, partition: Partition) -> ReceivedRecord:
    """What librdkafka has delivered of this partition, without an error."""
    headers, unreadable = _headers(polled)
    kind, timestamp = polled.timestamp()
    if kind == _NO_TIMESTAMP:
        timestamp = None
    # By position, because by name it takes twice as long.
    return ReceivedRecord(partition, polled.offset(), polled.key(), polled.value(), headers, timestamp, unreadable)


_NO_TIMESTAMP = confluent_kafka.TIMESTAMP_NOT_AVAILABLE


_headers_of = methodcaller("headers")
"""For such a name the client returns a list with a hole in it, and leaves its error pending. Called so, Python looks
for that, and raises. A call that is written as one it specializes after some times, and looks no more: then the error
comes out of whatever is called next."""


def _headers(polled: confluent_kafka.Message) -> tuple[Headers, str | None]:
    """The headers; the client raises SystemError for a name that is not UTF-8, which any stranger may send."""
    try:
        return _headers_of(polled) or [], None
    except Exception as error:
        return [], f"a header's name is not UTF-8 ({error.__cause__ or error})"
