"""What the injector asks of Kafka while nodes die, in a process of its own: librdkafka's admin client may abort the
process when the node that it asks goes away (an assertion about its queues fails).

usage: python -m tests.chaos.asking SERVERS coordinator GROUP | limit TOPIC BYTES | unlimit TOPIC | is_limited TOPIC
                                          | create TOPIC PARTITIONS | forget PREFIX
"""

import subprocess
import sys
from collections.abc import Sequence

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType

LONGEST = 20.0
"""Seconds that an answer may take, with the start of the process."""


def ask(*question: str) -> str | None:
    """The answer; None if Kafka gave none."""
    try:
        done = subprocess.run(
            [sys.executable, "-m", "tests.chaos.asking", *question], capture_output=True, text=True, timeout=LONGEST
        )
    except subprocess.TimeoutExpired:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def main(arguments: Sequence[str]) -> int:
    servers, question, name, *more = arguments
    admin = AdminClient({"bootstrap.servers": servers, "log.connection.close": False})
    try:
        if question == "coordinator":
            sys.stdout.write(f"{_coordinator(admin, name)}\n")
        elif question == "is_limited":
            sys.stdout.write(f"{_is_limited(admin, name)}\n")
        elif question == "create":
            _create(admin, name, int(more[0]))
        elif question == "forget":
            _forget(admin, name)
        else:
            _set_limit(admin, name, more[0] if more else None)
    except (KafkaException, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


def _coordinator(admin: AdminClient, group: str) -> int:
    (answer,) = admin.describe_consumer_groups([group], request_timeout=2).values()
    return int(answer.result().coordinator.id)


def _create(admin: AdminClient, topic: str, partitions: int) -> None:
    new = NewTopic(topic, num_partitions=partitions, config={"message.timestamp.type": "LogAppendTime"})
    (answer,) = admin.create_topics([new], request_timeout=2).values()
    try:
        answer.result()
    except KafkaException as error:
        if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:  # then an earlier question had its effect
            raise


def _forget(admin: AdminClient, prefix: str) -> None:
    """Delete the topics whose names begin so."""
    found = [topic for topic in admin.list_topics(timeout=5).topics if topic.startswith(prefix)]
    for answer in admin.delete_topics(found, request_timeout=15).values() if found else ():
        answer.result()


def _is_limited(admin: AdminClient, topic: str) -> bool:
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)], request_timeout=10).values()
    return not answer.result()["max.message.bytes"].is_default


def _set_limit(admin: AdminClient, topic: str, value: str | None) -> None:
    operation = AlterConfigOpType.DELETE if value is None else AlterConfigOpType.SET
    entry = ConfigEntry("max.message.bytes", value, incremental_operation=operation)
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=[entry])
    for answer in admin.incremental_alter_configs([resource], request_timeout=10).values():
        answer.result()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
