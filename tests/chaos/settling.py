"""Whether everything has come to rest: the outbox is empty, and no group lags behind."""

from collections.abc import Iterable, Iterator, Mapping

import psycopg
from confluent_kafka import Consumer, KafkaException, TopicPartition

SENT_AGAIN = "sent again: "
"""In front of the id of each event that ``manage.py send_again`` has had sent again."""


def sent_again(output: str) -> list[str]:
    """The events that it has had sent again."""
    return [line.removeprefix(SENT_AGAIN) for line in output.splitlines() if line.startswith(SENT_AGAIN)]


class Rest:
    """Asks Kafka and the database. ``close`` it."""

    def __init__(
        self, bootstrap_servers: str, prefix: str, database_url: str, groups: Mapping[str, Iterable[str]]
    ) -> None:
        """``groups`` has the topics of each group; those of its dead letters are looked at, too."""
        self._database_url = database_url
        self._prefix = prefix
        readers = {
            f"{group}-dead-letter": [f"{topic}.{group}.dead-letter" for topic in topics]
            for group, topics in groups.items()
        }
        self._groups = {**groups, **readers}
        options = {"bootstrap.servers": bootstrap_servers, "log_level": 0, "enable.auto.commit": False}
        self._clients = {group: Consumer(options | {"group.id": prefix + group}) for group in self._groups}

    def what_is_left(self) -> str:
        """What has not come to rest, in words; empty if nothing."""
        try:
            return ", ".join([*self._rows(), *self._lags()])
        except (KafkaException, psycopg.OperationalError) as error:
            return f"no answer: {error}"

    def has_set_aside(self) -> bool:
        """Whether events wait for somebody to send them again."""
        with psycopg.connect(self._database_url, connect_timeout=5) as database:
            found = database.execute("SELECT 1 FROM django_events_outgoingevent WHERE lane IS NULL LIMIT 1").fetchone()
        return found is not None

    def close(self) -> None:
        for client in self._clients.values():
            client.close()

    def _rows(self) -> Iterator[str]:
        with psycopg.connect(self._database_url, connect_timeout=5) as database:
            (count,) = database.execute("SELECT count(*) FROM django_events_outgoingevent").fetchone() or (0,)
            (letters,) = database.execute(_OPEN_LETTERS).fetchone() or (0,)
        if count:
            yield f"{count} rows in the outbox"
        if letters:
            yield f"{letters} dead letters that are tried by themselves"

    def _lags(self) -> Iterator[str]:
        for group, client in self._clients.items():
            lag = sum(self._lag(client, topic) for topic in self._groups[group])
            if lag:
                yield f"{lag} records that {group} is not done with"

    def _lag(self, client: Consumer, topic: str) -> int:
        name = self._prefix + topic
        numbers = client.list_topics(name, timeout=5).topics[name].partitions
        if not numbers:  # a topic for dead letters that nobody has needed yet
            return 0
        committed = client.committed([TopicPartition(name, number) for number in numbers], timeout=5)
        ends = [client.get_watermark_offsets(each, timeout=5)[1] for each in committed]
        return sum(end - max(each.offset, 0) for each, end in zip(committed, ends, strict=True))


_OPEN_LETTERS = "SELECT count(*) FROM django_events_deadletter WHERE automatic AND state IN ('waiting', 'running')"
