"""Declarations that cannot work are refused where they stand, or by a system check, with a remedy."""

from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_events import ConsumerGroup, DeclarationError, Event, Topic, checks, registry, topics
from tests.ledger.events import EntryMade, entry_made
from tests.ledger.handlers import ledger

pytestmark = pytest.mark.usefixtures("declarations")

Payload = dict[str, Any]


@pytest.mark.parametrize("name", ["", " ", "a b", "é", "a/b", ".", "..", "x" * 250, None, 5, b"a"])
def test_illegal_topic_names(name: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="topic name"):
        Topic(name, dict)


@pytest.mark.parametrize("name", ["", "a b", "x" * 56, None])
def test_illegal_group_names(name: Any) -> None:
    with pytest.raises(ImproperlyConfigured, match="group name"):
        ConsumerGroup(name)


@pytest.mark.parametrize(
    "options",
    [
        {"partitions": 0},
        {"partitions": 200_000},
        {"replication_factor": 0},
        {"max_bytes": 2_000_000_000},
        {"partitions": "2"},
        {"replication_factor": -1},
        {"max_bytes": 1.5},
        {"max_bytes": True},
    ],
)
def test_illegal_topic_options(options: Any) -> None:
    with pytest.raises(DeclarationError, match="must be a whole number from 1"):
        Topic("options", dict, **options)


def test_two_payload_types_for_one_topic() -> None:
    Topic("twice", dict)
    with pytest.raises(DeclarationError, match="Declare it once and import that declaration"):
        Topic("twice", dict[str, int])


def test_two_different_options_for_one_topic() -> None:
    Topic("twice", dict)
    Topic("twice", dict)
    with pytest.raises(DeclarationError, match="with different options"):
        Topic("twice", dict, partitions=5)


def test_one_group_twice() -> None:
    with pytest.raises(DeclarationError, match="'ledger' is declared twice"):
        ConsumerGroup("ledger")


def test_one_handler_name_twice_in_a_group() -> None:
    topic, group = Topic("t", dict), ConsumerGroup("g")

    @group.idempotent(topic)
    def handle(event: Event[Payload]) -> None: ...

    with pytest.raises(DeclarationError, match="two handlers named 'handle'"):
        group.exactly_once(topic)(handle)
    group.exactly_once(topic, name="other")(handle)
    assert [handler.name for handler in group.handlers] == ["handle", "other"]


@pytest.mark.parametrize("name", ["a b", "x" * 201, "é", 5])
def test_illegal_handler_names(name: Any) -> None:
    with pytest.raises(DeclarationError, match="Give it name="):
        ConsumerGroup("g").idempotent(Topic("t", dict), name=name)(lambda event: None)


def test_a_lambda_has_no_name() -> None:
    with pytest.raises(DeclarationError, match="'<lambda>'.*Give it name="):
        ConsumerGroup("g").idempotent(Topic("t", dict))(lambda event: None)


@pytest.mark.parametrize("topics", [(), ("shop.order-placed",), (Topic,)])
def test_handlers_want_topics(topics: Any) -> None:
    with pytest.raises(DeclarationError, match="give it a Topic"):
        ConsumerGroup("g").exactly_once(*topics)


def test_handlers_stay_plain_functions() -> None:
    @ConsumerGroup("g").exactly_once(Topic("t", dict))
    def handle(event: Event[Payload]) -> None:
        seen.append(event)

    seen: list[Any] = []
    handle("anything")  # type: ignore[arg-type]
    assert seen == ["anything"]


def test_unknown_groups_are_named_with_those_that_exist() -> None:
    assert registry.groups(["ledger"]) == [ledger]
    with pytest.raises(DeclarationError, match="No consumer group is named nobody. Declared groups: audit, billing"):
        registry.groups(["nobody"])


def test_declarations_of_installed_apps_are_found() -> None:
    names = [group.name for group in registry.groups([])]
    assert {"billing", "mail", "ledger", "audit"} <= set(names)


def test_topics_that_kafka_cannot_tell_apart() -> None:
    Topic("a.b", dict)
    Topic("a_b", dict)
    (error,) = checks.check_declarations(None)
    assert (error.id, error.hint) == ("django_events.E005", "Rename one of them.")


def test_dead_letters_that_would_share_a_topic() -> None:
    for topic, group in (("a.b", "c"), ("a", "b.c")):
        ConsumerGroup(group).idempotent(Topic(topic, dict), name="h")(lambda event: None)
    (error,) = checks.check_declarations(None)
    assert error.id == "django_events.E007"


async def coroutine(event: Event[Payload]) -> None: ...


def generator(event: Event[Payload]) -> Any:
    yield


@pytest.mark.parametrize(
    ("function", "text"), [(coroutine, "asyncio.run"), (generator, "plain function"), (5, "decorate a function")]
)
def test_functions_that_nobody_would_run_are_no_handlers(function: Any, text: str) -> None:
    with pytest.raises(DeclarationError, match=text):
        ConsumerGroup("g").idempotent(Topic("t", dict), name="h")(function)


def test_names_that_are_too_long_with_their_prefix_and_endings(settings: Any) -> None:
    topic = Topic("t" * 200, dict)
    ConsumerGroup("g" * 55).idempotent(topic, name="h")(lambda event: None)
    errors = checks.check_declarations(None)
    assert {error.id for error in errors} == {"django_events.E006"}


def test_topics_made_at_run_time_can_be_forbidden(settings: Any) -> None:
    """The apps' declarations have been read when Django began."""
    settings.DJANGO_EVENTS = {**settings.DJANGO_EVENTS, "REQUIRE_DECLARED_TOPICS": True}
    with pytest.raises(DeclarationError, match=r"'late' is made after .* Declare it in events\.py of an installed app"):
        Topic("late", dict)
    assert "late" not in {topic.name for topic in topics.declared()}
    assert entry_made.event(EntryMade("ann", 1)), "those that are declared can be used"
    assert Topic("ledger.entry-made", EntryMade), "and said again"


@pytest.mark.parametrize("config", [["retention.ms"], {"retention.ms": 1}, {1: "a"}, "retention.ms=1", None])
def test_configs_that_are_no_texts(config: Any) -> None:
    with pytest.raises(DeclarationError, match="config of topic 'odd' must be a mapping of names to texts"):
        Topic("odd", dict, config=config)
