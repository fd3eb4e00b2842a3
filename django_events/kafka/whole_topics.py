"""Topics read from their first record to their present end, by nobody's group and without a trace in Kafka."""

from collections.abc import Collection, Iterator

from confluent_kafka import KafkaException, TopicPartition

from django_events.exceptions import BrokerUnavailable
from django_events.kafka import names, spans
from django_events.kafka.errors import no_answer
from django_events.kafka.record import Partition, ReceivedRecord
from django_events.kafka.spans import Span

WAIT = 10.0
"""Seconds that Kafka has to answer a question."""


class WholeTopics:
    """Some topics, as far as they reach now. Iterate once, in one thread; ``close`` it. Blocking, each wait bounded."""

    def __init__(self, group: str) -> None:
        """``group`` is whose access rights are used; nothing is committed for it."""
        self._reader = spans.Reader(group)

    def dead_letter_topics(self, group: str) -> list[str]:
        """The topics in Kafka that have dead letters of this group, also of handlers that are gone."""
        ending = names.dead_letter_topic("", group)
        try:
            found = self._reader.client.list_topics(timeout=WAIT).topics
        except KafkaException as error:
            raise BrokerUnavailable(no_answer(error, self._reader.last_error)) from error
        mine = names.on_wire("")
        return sorted(names.off_wire(each) for each in found if each.startswith(mine) and each.endswith(ending))

    def read(self, topics: Collection[str]) -> Iterator[ReceivedRecord]:
        """All records that these topics have now. Raises BrokerUnavailable if Kafka falls silent."""
        return self._reader.read(self._spans(topics))

    def count(self, topics: Collection[str]) -> int:
        """How many records there are about; offsets have holes."""
        return sum(span.end - span.start for span in self._spans(topics))

    def close(self) -> None:
        self._reader.close()

    def _spans(self, topics: Collection[str]) -> list[Span]:
        """All of every partition."""
        try:
            found = self._reader.client.list_topics(timeout=WAIT).topics
            places = [(each, number) for each in topics for number in found[names.on_wire(each)].partitions]
            return [Span(Partition(*place), *self._ends(*place)) for place in places]
        except KafkaException as error:
            raise BrokerUnavailable(no_answer(error, self._reader.last_error)) from error

    def _ends(self, topic: str, number: int) -> tuple[int, int]:
        """First and next offset."""
        start, end = self._reader.client.get_watermark_offsets(
            TopicPartition(names.on_wire(topic), number), timeout=WAIT
        )
        return start, end
