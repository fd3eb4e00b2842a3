"""What Kafka has given to a consumer group, as Kafka has it."""

from confluent_kafka.admin import AdminClient


def partitions_of(bootstrap_servers: str, group: str, topic: str) -> list[int]:
    """The numbers of the topic's partitions that members of the group have at this moment."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    (answer,) = admin.describe_consumer_groups([group]).values()
    given = [place for member in answer.result().members for place in member.assignment.topic_partitions]
    return sorted(place.partition for place in given if place.topic == topic)
