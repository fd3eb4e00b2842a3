"""Topics in Kafka: which exist, and the creation of declared ones that do not.

Blocking; every wait is bounded. Thread-safe: each call uses a client of its own.
"""

import logging
import time
from collections.abc import Iterable
from concurrent.futures import Future
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient, ClusterMetadata, ConfigResource, NewTopic, ResourceType

from django_events import repeats
from django_events.conf import settings
from django_events.exceptions import BrokerUnavailable
from django_events.kafka import clients, config, names, spec
from django_events.kafka.errors import ClientHangs, LastError, failure_in, no_answer
from django_events.log_fields import fields

logger = logging.getLogger("django_events.kafka")

LEAST_COPIES = "min.insync.replicas"


def create_missing(topics: Iterable[str], timeout: float) -> frozenset[str]:
    """Create those of the topics that are declared and absent; return the names of those that exist afterwards.

    Idempotent. Raises BrokerUnavailable if Kafka does not answer within ``timeout`` seconds. A topic that
    cannot be created, or not within that time, is logged and missing from the answer; it holds up no other.
    """
    deadline = time.monotonic() + timeout
    admin, last_error = client()
    wanted = set(topics)
    found = metadata(admin, last_error, timeout)
    present = {name for name in wanted if names.on_wire(name) in found.topics}
    missing = [declared for name in sorted(wanted - present) if (declared := spec.declared(name))]
    if not missing or not settings.AUTO_CREATE_TOPICS:
        return frozenset(wanted & present)
    created = create(admin, missing, len(found.brokers), max(deadline - time.monotonic(), 0.001))
    return frozenset(wanted & (present | created))


def client() -> tuple[AdminClient, LastError]:
    """A client that asks about topics and creates them, and what it learns of its troubles."""
    last_error = LastError()
    return clients.make(AdminClient, config.admin_options() | {"error_cb": last_error}), last_error


def metadata(admin: AdminClient, last_error: LastError, timeout: float) -> ClusterMetadata:
    """All topics and brokers. Asks without a name, because naming a topic can create it. Raises BrokerUnavailable."""
    try:
        return admin.list_topics(timeout=timeout)
    except KafkaException as error:
        admin.poll(0)
        raise BrokerUnavailable(no_answer(error, last_error)) from error


def metadata_with(wanted: Iterable[str], admin: AdminClient, last_error: LastError, timeout: float) -> ClusterMetadata:
    """As ``metadata``, as soon as these topics are in it, or after so many seconds: a new topic takes a moment until
    every broker knows it. Asks at least once."""
    deadline = time.monotonic() + timeout
    wire_names = {names.on_wire(name) for name in wanted}
    while True:
        cluster = metadata(admin, last_error, timeout)
        if wire_names <= cluster.topics.keys() or time.monotonic() >= deadline:
            return cluster
        time.sleep(0.05)


def create(admin: AdminClient, specs: list[spec.TopicSpec], broker_count: int, timeout: float) -> set[str]:
    """Create these topics; the names of those that exist afterwards. What goes wrong is logged."""
    requests = [_new_topic(each, broker_count) for each in specs]
    created: set[str] = set()
    try:
        answers = admin.create_topics(requests, operation_timeout=timeout, request_timeout=timeout)
    except (KafkaException, ValueError, TypeError) as error:
        names_ = ", ".join(each.name for each in specs)
        repeats.log(logger, logging.ERROR, names_, "Could not create topics %s: %s", names_, error)
        return created
    for wire_name, answer in answers.items():
        failure = _failure_in(answer, timeout, admin)
        if failure is None:
            logger.info("Created topic %s", wire_name)
        elif failure.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
            text, reason = "Could not create topic %s: %s", failure.args[0].str()
            extra = fields(topic=names.off_wire(wire_name))
            repeats.log(logger, logging.ERROR, wire_name, text, wire_name, reason, extra=extra)
            continue
        created.add(names.off_wire(wire_name))
    return created


def configs(wanted: Iterable[str], admin: AdminClient, timeout: float) -> dict[str, dict[str, str]]:
    """The configurations of these topics, as far as Kafka tells us."""
    resources = [ConfigResource(ResourceType.TOPIC, names.on_wire(name)) for name in wanted]
    found = {}
    answers = admin.describe_configs(resources, request_timeout=timeout) if resources else {}
    for resource, answer in answers.items():
        if _failure_in(answer, timeout, admin) is None:
            found[names.off_wire(resource.name)] = {name: each.value for name, each in answer.result().items()}
    return found


def _failure_in(asked: "Future[Any]", timeout: float, admin: AdminClient) -> KafkaException | None:
    """As ``failure_in``. A client that hangs is kept for ever: to destroy it would hang, too."""
    try:
        return failure_in(asked, timeout)
    except ClientHangs:
        clients.never_destroy(admin)
        raise


def least_copies(wanted: Iterable[str], timeout: float) -> dict[str, int]:
    """How many copies of these topics must be in sync, or Kafka takes no event (``min.insync.replicas``), as far as it
    tells us within ``timeout`` seconds."""
    admin, _ = client()
    found = configs(wanted, admin, timeout)
    return {topic: int(config[LEAST_COPIES]) for topic, config in found.items() if LEAST_COPIES in config}


def _new_topic(wanted: spec.TopicSpec, broker_count: int) -> NewTopic:
    copies = wanted.replication_factor or min(3, max(broker_count, 1))
    defaults = {
        LEAST_COPIES: str(max(copies - 1, 1)),
        "message.timestamp.type": "LogAppendTime",
    }
    if wanted.max_bytes > spec.DEFAULT_LIMIT:
        defaults[spec.MAX_MESSAGE_BYTES] = str(wanted.max_bytes + spec.HEADROOM)
    return NewTopic(
        names.on_wire(wanted.name),
        num_partitions=wanted.partitions or spec.PARTITIONS,
        replication_factor=copies,
        config={**defaults, **wanted.config},
    )
