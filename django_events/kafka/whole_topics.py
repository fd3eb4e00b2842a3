"""Topics read from their first record to their present end, by nobody's group and without a trace in Kafka."""

from collections.abc import Collection, Iterator

import confluent_kafka
from confluent_kafka import KafkaError, KafkaException, TopicPartition

from django_events.exceptions import BrokerUnavailable
from django_events.kafka import config, names
from django_events.kafka.consumer import LONGEST_POLL, received
from django_events.kafka.errors import LastError, no_answer, refused_options_named
from django_events.kafka.logs import QUIET_LOGGER
from django_events.kafka.record import ReceivedRecord

WAIT = 10.0
"""Seconds that Kafka has to answer a question."""

SILENCE = 30.0
"""Seconds without a record after which Kafka is taken to be away."""


class WholeTopics:
    """Some topics, as far as they reach now. Iterate once, in one thread; ``close`` it. Blocking, each wait bounded."""

    def __init__(self, group: str) -> None:
        """``group`` is whose access rights are used; nothing is committed for it."""
        self._last_error = LastError()
        options = config.consumer_options(group) | {"error_cb": self._last_error, "enable.partition.eof": True}
        with refused_options_named():
            self._client = confluent_kafka.Consumer(options, logger=QUIET_LOGGER)

    def dead_letter_topics(self, group: str) -> list[str]:
        """The topics in Kafka that have dead letters of this group, also of handlers that are gone."""
        ending = names.dead_letter_topic("", group)
        try:
            found = self._client.list_topics(timeout=WAIT).topics
        except KafkaException as error:
            raise BrokerUnavailable(no_answer(error, self._last_error)) from error
        mine = names.on_wire("")
        return sorted(names.off_wire(each) for each in found if each.startswith(mine) and each.endswith(ending))

    def read(self, topics: Collection[str]) -> Iterator[ReceivedRecord]:
        """All records that these topics have now. Raises BrokerUnavailable if Kafka falls silent."""
        ends = self._ends(topics)
        self._client.assign([TopicPartition(topic, number, start) for (topic, number), (start, _) in ends.items()])
        quiet = 0.0
        while ends:
            polled = self._client.poll(LONGEST_POLL)
            error = polled.error() if polled else None
            if polled is None or (error and error.code() != KafkaError._PARTITION_EOF):
                quiet += LONGEST_POLL  # librdkafka goes on after an error, and tells of it for as long as it lasts
                if quiet >= SILENCE:
                    why = f": {error.str()}" if error else ""
                    raise BrokerUnavailable(f"Kafka at {config.brokers()} has sent nothing for {SILENCE:g} s{why}.")
                continue
            quiet = 0.0
            place = (polled.topic(), polled.partition())
            if error or (place in ends and polled.offset() + 1 >= ends[place][1]):
                ends.pop(place, None)
            if not error:
                yield received(polled)

    def count(self, topics: Collection[str]) -> int:
        """How many records there are about; offsets have holes."""
        return sum(end - start for start, end in self._ends(topics).values())

    def close(self) -> None:
        self._client.close()

    def _ends(self, topics: Collection[str]) -> dict[tuple[str, int], tuple[int, int]]:
        """First and next offset of every partition that is not empty, by wire name."""
        try:
            found = self._client.list_topics(timeout=WAIT).topics
            places = [(each, number) for each in map(names.on_wire, topics) for number in found[each].partitions]
            marks = {
                place: self._client.get_watermark_offsets(TopicPartition(*place), timeout=WAIT) for place in places
            }
        except KafkaException as error:
            raise BrokerUnavailable(no_answer(error, self._last_error)) from error
        return {place: (start, end) for place, (start, end) in marks.items() if end > start}
