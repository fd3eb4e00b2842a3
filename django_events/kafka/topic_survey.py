"""How the topics in Kafka differ from what is declared. Creates what is missing; what is there is never changed.

Blocking; every wait is bounded. Thread-safe: each call uses a client of its own.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

from confluent_kafka.admin import AdminClient, ClusterMetadata, TopicMetadata

from django_events.kafka import dead_letter_topics, names, spec, topics
from django_events.kafka.spec import TopicSpec

Letters = Mapping[str, Collection[str]]
"""By consumer group, the topics whose events can become its dead letters."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that is not as it is declared. Immutable."""

    what: str
    """``partitions``, ``replication_factor``, or the name of a config."""
    declared: str
    actual: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicState:
    """What became of one declared topic, or of one for dead letters, in Kafka. Immutable."""

    name: str
    """Without prefix."""
    wire_name: str
    """With it, as Kafka has it."""
    partitions: int | None = None
    """None if Kafka does not have the topic."""
    replication_factor: int | None = None
    """Copies of the partition that has the fewest; None likewise."""
    differences: tuple[Difference, ...] = ()

    @property
    def is_missing(self) -> bool:
        return self.partitions is None

    @property
    def is_as_declared(self) -> bool:
        return not self.is_missing and not self.differences


def survey(declared: Sequence[TopicSpec], letters: Letters, timeout: float) -> list[TopicState]:
    """The state of these topics, and of those for the dead letters of these groups.

    What a declaration leaves open is not compared. Raises BrokerUnavailable if Kafka does not answer within so many
    seconds.
    """
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    wanted = {each.name: each for each in declared}
    wanted |= {each.name: each for each in _letter_specs(letters, cluster, admin, timeout)}
    configs = topics.configs([name for name in wanted if names.on_wire(name) in cluster.topics], admin, timeout)
    states = [_state(each, cluster.topics.get(names.on_wire(each.name)), configs) for each in wanted.values()]
    there = {state.name for state in states}
    # Where the source is missing, nobody knows yet what the topic of its letters shall be like.
    absent = [name for name in _letter_topics(letters) if name not in there]
    return states + [TopicState(name=name, wire_name=names.on_wire(name)) for name in absent]


def create_all_missing(declared: Sequence[TopicSpec], letters: Letters, timeout: float) -> set[str]:
    """Create those that Kafka lacks, whatever AUTO_CREATE_TOPICS says; the names of the created ones.

    Idempotent. What cannot be created is logged. Raises BrokerUnavailable.
    """
    admin, last_error = topics.client()
    cluster = topics.metadata(admin, last_error, timeout)
    created = _create(declared, cluster, admin, timeout)
    if created:
        cluster = topics.metadata_with(created, admin, last_error, timeout)
    of_letters = _create([*_letter_specs(letters, cluster, admin, timeout)], cluster, admin, timeout)
    if of_letters:  # whoever asks next is to be told of them, whichever node that asks
        topics.metadata_with(of_letters, admin, last_error, timeout)
    return created | of_letters


def _create(wanted: Sequence[TopicSpec], cluster: ClusterMetadata, admin: AdminClient, timeout: float) -> set[str]:
    missing = [each for each in wanted if names.on_wire(each.name) not in cluster.topics]
    return topics.create(admin, missing, len(cluster.brokers), timeout) if missing else set()


def _letter_topics(letters: Letters) -> list[str]:
    return [names.dead_letter_topic(topic, group) for group, sources in letters.items() for topic in sources]


def _letter_specs(
    letters: Letters, cluster: ClusterMetadata, admin: AdminClient, timeout: float
) -> Iterator[TopicSpec]:
    for group, sources in letters.items():
        for topic in sources:
            if source := cluster.topics.get(names.on_wire(topic)):
                yield dead_letter_topics.wanted_spec(topic, group, source, admin, timeout)


def _state(wanted: TopicSpec, found: TopicMetadata | None, configs: Mapping[str, Mapping[str, str]]) -> TopicState:
    wire_name = names.on_wire(wanted.name)
    if found is None:
        return TopicState(name=wanted.name, wire_name=wire_name)
    copies = min((len(partition.replicas) for partition in found.partitions.values()), default=0)
    numbers = _differing_numbers(wanted, len(found.partitions), copies)
    return TopicState(
        name=wanted.name,
        wire_name=wire_name,
        partitions=len(found.partitions),
        replication_factor=copies,
        differences=(*numbers, *_differing_config(wanted, configs.get(wanted.name))),
    )


def _differing_numbers(wanted: TopicSpec, partitions: int, copies: int) -> Iterator[Difference]:
    if wanted.partitions not in (None, partitions):
        yield Difference("partitions", str(wanted.partitions), str(partitions))
    if wanted.replication_factor not in (None, copies):
        yield Difference("replication_factor", str(wanted.replication_factor), str(copies))


def _differing_config(wanted: TopicSpec, actual: Mapping[str, str] | None) -> Iterator[Difference]:
    limit = max(wanted.max_bytes, int(wanted.config.get(spec.MAX_MESSAGE_BYTES, 0)))
    for name, text in {**wanted.config, spec.MAX_MESSAGE_BYTES: f"{limit} or more"}.items():
        if actual is None:
            yield Difference(name, text, "Kafka does not tell")
        elif name not in actual:
            yield Difference(name, text, "Kafka has no such option")
        elif name == spec.MAX_MESSAGE_BYTES:
            if int(actual[name]) < limit:
                yield Difference(name, text, actual[name])
        elif _alike(actual[name]) != _alike(text):
            yield Difference(name, text, actual[name])


def _alike(text: str) -> list[str]:
    """The value as it is compared: the order in a list and upper case do not count."""
    return sorted(part.strip().lower() for part in text.split(","))
