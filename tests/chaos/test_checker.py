"""Each rule finds the history that is made to break it, and a good history breaks none."""

from pathlib import Path

import msgspec
import pytest

from tests.chaos.checker import RULES, check
from tests.chaos.facts import (
    ABSENT,
    Aborted,
    AnyFact,
    Buried,
    Committed,
    Declared,
    Delivered,
    Dropped,
    Effect,
    Ended,
    Fault,
    Handled,
    Handling,
    Intent,
    Kept,
    OffsetsCommitted,
    Phase,
    Place,
    Raised,
    Saved,
    Sending,
    Sent,
    SetAside,
    Settled,
    Unsettled,
)
from tests.chaos.history import History
from tests.chaos.timeline import timeline

TOPIC = "moved"
LATE = "late"
HEADERS = (("ce_id", "x"), ("tenant", None))


def intent(
    event: str,
    at: float,
    transaction: str = "",
    number: int | None = None,
    key: str | None = "ann",
    topic: str = TOPIC,
) -> Intent:
    return Intent(
        at=at,
        actor="web-1",
        process=1,
        event=event,
        topic=topic,
        key=key,
        body="{}",
        headers=HEADERS,
        transaction=transaction or f"of-{event}",
        number=number,
    )


def committed(event: str, at: float) -> list[AnyFact]:
    return [Committed(at=at, actor="web-1", process=1, transaction=f"of-{event}"), Saved(at=900, event=event)]


def sent(event: str, at: float, place: Place, actor: str = "web-1") -> list[AnyFact]:
    return [
        Sending(at=at - 0.01, actor=actor, process=1, events=(event,)),
        delivered(event, at, place),
        Sent(at=at + 0.01, actor=actor, process=1, event=event),
    ]


def delivered(event: str, at: float, place: Place, key: str | None = "ann", body: str = "{}") -> Delivered:
    return Delivered(at=at, event=event, place=place, key=key, body=body, headers=HEADERS)


def handled(handler: str, event: str, at: float, place: Place, actor: str = "books-1") -> list[AnyFact]:
    return [
        Handling(at=at, actor=actor, process=2, handler=handler, event=event, place=place),
        Effect(at=at, handler=handler, event=event),
        Handled(at=at + 0.1, actor=actor, process=2, handler=handler, event=event, place=place),
    ]


def letter(at: float, body: str = "{}") -> Buried:
    return Buried(at=at, handler="watch/note", event="ill", place=(TOPIC, 0, 2), key="ann", body=body, headers=HEADERS)


def offset(at: float, number: int) -> OffsetsCommitted:
    return OffsetsCommitted(at=at, actor="books-1", process=2, group="books", offsets=((TOPIC, 0, number),))


def good() -> list[AnyFact]:
    """Events of one key, one that is rolled back, one whose savepoint is; two groups; one dead letter; no fault."""
    first, second, third = (TOPIC, 0, 0), (TOPIC, 0, 1), (TOPIC, 0, 2)
    return [
        Declared(at=0, handler="books/book", topics=(TOPIC,), exactly_once=True),
        Declared(at=0, handler="watch/note", topics=(TOPIC,), exactly_once=False),
        Phase(at=1, name="calm"),
        intent("a", 10, number=1),
        *committed("a", 10.1),
        *sent("a", 10.2, first),
        *handled("books/book", "a", 10.3, first),
        *handled("watch/note", "a", 10.3, first, "watch-1"),
        offset(11, 1),
        intent("rolled-back", 12, number=2),
        Aborted(at=12.1, actor="web-1", process=1, transaction="of-rolled-back"),
        intent("dropped", 13, "of-b", number=2),
        Dropped(at=13.1, actor="web-1", process=1, event="dropped"),
        intent("b", 13.2, number=2),
        *committed("b", 13.3),
        *sent("b", 13.4, second),
        *handled("books/book", "b", 13.5, second),
        *handled("watch/note", "b", 13.5, second, "watch-1"),
        offset(14, 2),
        intent("ill", 50, number=3),
        *committed("ill", 50.1),
        *sent("ill", 50.2, third),
        *handled("books/book", "ill", 50.3, third),
        Handling(at=50.3, actor="watch-1", process=2, handler="watch/note", event="ill", place=third),
        letter(50.4),
        Kept(at=900, handler="watch/note", event="ill", state="waiting"),
        OffsetsCommitted(at=50.5, actor="watch-1", process=2, group="watch", offsets=((TOPIC, 0, 3),)),
        Phase(at=100, name="faults"),
        Settled(at=200, seconds=1),
    ]


def held_back(until: float) -> list[AnyFact]:
    """A good history, and two events of a topic that Kafka lacks until then; they arrive after 110 s."""
    first, second = (LATE, 0, 0), (LATE, 0, 1)
    return [
        *good(),
        Declared(at=0, handler="books/enter", topics=(LATE,), exactly_once=True),
        Fault(at=0.5, kind=ABSENT, hits=(LATE,), until=until),
        intent("late-1", 20, number=1, topic=LATE),
        *committed("late-1", 20.1),
        intent("late-2", 30, number=2, topic=LATE),
        *committed("late-2", 30.1),
        *sent("late-1", 111, first),
        *sent("late-2", 111.1, second),
        *handled("books/enter", "late-1", 112, first),
        *handled("books/enter", "late-2", 112.2, second),
        OffsetsCommitted(at=113, actor="books-1", process=2, group="books", offsets=((LATE, 0, 2),)),
    ]


def without(kind: type[AnyFact], **values: object) -> list[AnyFact]:
    """A good history in which the facts of this kind with these values are missing."""
    missing = [
        fact
        for fact in good()
        if isinstance(fact, kind) and all(getattr(fact, name) == value for name, value in values.items())
    ]
    assert missing
    return [fact for fact in good() if fact not in missing]


def swapped() -> list[AnyFact]:
    """The second event is the first in Kafka, though both were written under the lock."""
    return [
        msgspec.structs.replace(fact, place=(TOPIC, 0, 1 - fact.place[2]))
        if isinstance(fact, Delivered) and fact.event != "ill"
        else fact
        for fact in good()
    ]


def unlocked(history: list[AnyFact]) -> list[AnyFact]:
    return [msgspec.structs.replace(fact, number=None) if isinstance(fact, Intent) else fact for fact in history]


def delivered_late() -> list[AnyFact]:
    return [
        msgspec.structs.replace(fact, at=fact.at + 7) if isinstance(fact, Delivered) and fact.event == "b" else fact
        for fact in good()
    ]


def called_out_of_turn(handler: str) -> list[AnyFact]:
    """The handler is called with the second event of the key shortly before it is done with the first."""
    return [
        msgspec.structs.replace(fact, at=13.7)
        if isinstance(fact, Handled) and (fact.handler, fact.event) == (handler, "a")
        else fact
        for fact in good()
    ]


DUPLICATE = sent("a", 60, (TOPIC, 0, 3), "catchup-1") + handled("watch/note", "a", 61, (TOPIC, 0, 3), "watch-1")
CALLED_AGAIN = [Handling(at=20, actor="watch-2", process=3, handler="watch/note", event="a", place=(TOPIC, 0, 0))]

BAD: dict[str, list[AnyFact]] = {
    "a_commit_is_kept": [*good(), intent("c", 20, "c"), Committed(at=21, transaction="c")],
    "committed_events_are_delivered": [*good(), intent("c", 20), *committed("c", 21)],
    "nothing_else_is_delivered": [*good(), delivered("rolled-back", 20, (TOPIC, 0, 3))],
    "records_are_as_written": [
        msgspec.structs.replace(fact, body="{ }") if isinstance(fact, Delivered) else fact for fact in good()
    ],
    "calm_events_arrive_promptly": delivered_late(),
    "what_is_held_back_is_not_set_aside": [*held_back(until=110), SetAside(at=150, event="late-1")],
    "locked_aggregates_keep_their_order": swapped(),
    "later_transactions_do_not_overtake": unlocked(swapped()),
    "duplicate_records_are_explained": [*good(), *DUPLICATE],
    "repeated_calls_are_explained": [*good(), *CALLED_AGAIN],
    "a_keys_events_are_handled_in_turn": called_out_of_turn("watch/note"),
    "exactly_once_effects_are_single": [*good(), Effect(at=20, handler="books/book", event="a")],
    "effects_have_events": [*good(), Effect(at=20, handler="watch/note", event="rolled-back")],
    "every_handler_handles_every_event": without(Effect, handler="watch/note", event="b"),
    "offsets_pass_only_finished_records": [*good(), offset(13.45, 2)],
    "letters_are_brought_in": without(Kept),
    "letters_are_as_the_event": [*good(), letter(50.41, "{ }")],
    "repeated_letters_are_explained": [*good(), letter(70)],
    "everything_settles": [*without(Settled), Unsettled(at=200, left="2 rows in the outbox")],
    "no_process_ends_by_itself": [*good(), Ended(at=20, actor="web-1", process=1, code=1, wanted=False)],
}


def rules_broken(history: list[AnyFact]) -> set[str]:
    return {violation.rule for violation in check(history)}


def test_a_good_history_breaks_no_rule() -> None:
    assert check(good()) == []


def test_every_rule_has_a_bad_history() -> None:
    assert list(BAD) == [rule.__name__ for rule in RULES]


@pytest.mark.parametrize("rule", BAD)
def test_a_bad_history_breaks_its_rule(rule: str) -> None:
    assert rule in rules_broken(BAD[rule])


@pytest.mark.parametrize("rule", BAD)
def test_the_timeline_of_a_violation_tells_what_belongs_to_it(rule: str) -> None:
    violation = next(each for each in check(BAD[rule]) if each.rule == rule)
    lines = timeline(BAD[rule], violation)
    assert all(any(event in line for line in lines) for event in violation.events)
    assert all(any(actor in line for line in lines) for actor in violation.actors)


def test_a_rolled_back_event_that_the_database_has_is_found() -> None:
    assert "a_commit_is_kept" in rules_broken([*good(), Saved(at=900, event="dropped")])


def test_an_offset_that_the_partition_does_not_have_is_found() -> None:
    assert "offsets_pass_only_finished_records" in rules_broken([*good(), offset(60, 4)])


def test_an_idempotent_handler_that_was_never_called_holds_the_offset() -> None:
    history = without(Handled, handler="watch/note", event="b")
    commit = OffsetsCommitted(at=15, actor="watch-1", process=3, group="watch", offsets=((TOPIC, 0, 2),))
    assert "offsets_pass_only_finished_records" in rules_broken([*history, commit])


def test_an_offset_that_passes_before_the_dead_letter_is_found() -> None:
    commit = OffsetsCommitted(at=50.35, actor="watch-1", process=2, group="watch", offsets=((TOPIC, 0, 3),))
    assert "offsets_pass_only_finished_records" in rules_broken([*good(), commit])


@pytest.mark.parametrize(("kind", "broken"), [
    ("freeze", set()),
    ("", {"offsets_pass_only_finished_records", "a_keys_events_are_handled_in_turn"}),
])  # fmt: skip
def test_an_effect_counts_from_its_commit_if_its_process_was_frozen_before_it_could_note_it(
    kind: str, broken: set[str]
) -> None:
    (noted,) = [
        fact for fact in good() if isinstance(fact, Handled) and (fact.handler, fact.event) == ("books/book", "a")
    ]
    (effect,) = [
        fact for fact in good() if isinstance(fact, Effect) and (fact.handler, fact.event) == ("books/book", "a")
    ]
    late = msgspec.structs.replace(noted, at=noted.at + 5)
    faults = [Fault(at=effect.at, kind=kind, hits=(noted.actor,), until=late.at)] if kind else []
    assert rules_broken([*(fact for fact in good() if fact is not noted and fact != noted), late, *faults]) == broken


@pytest.mark.parametrize("state", ["resolved", "running", "discarded"])
def test_a_dead_letter_that_does_not_wait_is_no_excuse(state: str) -> None:
    history = [*without(Kept), Kept(at=900, handler="watch/note", event="ill", state=state)]
    assert rules_broken(history) == {"every_handler_handles_every_event"}


def test_a_history_without_an_end_is_bad() -> None:
    assert rules_broken(without(Settled)) == {"everything_settles"}


@pytest.mark.parametrize("hits", [("web-1",), ("catchup-1",), ("kafka",), ("database",)])
def test_a_duplicate_record_may_have_been_caused_by_a_fault(hits: tuple[str, ...]) -> None:
    fault = Fault(at=55, kind="kill", hits=hits, until=56)
    assert rules_broken([*good(), *DUPLICATE, fault]) == set()


@pytest.mark.parametrize("fault", [
    Fault(at=55, kind="kill", hits=("web-2",), until=56),
    Fault(at=80, kind="kill", hits=("web-1",), until=81),
])  # fmt: skip
def test_a_fault_elsewhere_or_later_explains_no_duplicate(fault: Fault) -> None:
    assert rules_broken([*good(), *DUPLICATE, fault]) == {"duplicate_records_are_explained"}


@pytest.mark.parametrize(("slowness", "broken"), [(0.8, set()), (0.2, {"duplicate_records_are_explained"})])
def test_a_slow_kafka_may_have_caused_a_duplicate_record(slowness: float, broken: set[str]) -> None:
    first = Sending(at=10.2 - slowness, actor="web-1", process=1, events=("a",))
    assert rules_broken([*without(Sending, events=("a",)), *DUPLICATE, first]) == broken


@pytest.mark.parametrize(("later", "broken"), [
    ([], set()),
    ([Sending(at=11, actor="web-1", process=7, events=("b",))], {"duplicate_records_are_explained"}),
    ([Sent(at=11, actor="web-1", process=7, event="a")], {"duplicate_records_are_explained"}),
])  # fmt: skip
def test_only_the_last_round_of_a_process_may_have_been_left_unfinished(later: list[AnyFact], broken: set[str]) -> None:
    last = Sending(at=10.1, actor="web-1", process=7, events=("a",))
    others = [fact for fact in good() if not isinstance(fact, Sending | Sent)]
    assert rules_broken([*others, *DUPLICATE, last, *later]) == broken


@pytest.mark.parametrize("reason", [
    Fault(at=15, kind="freeze", hits=("watch-1",), until=16),
    Raised(at=10.35, actor="watch-1", process=2, handler="watch/note", event="a", place=(TOPIC, 0, 0)),
])  # fmt: skip
def test_a_repeated_call_may_have_a_reason(reason: AnyFact) -> None:
    assert rules_broken([*good(), *CALLED_AGAIN, reason]) == set()


@pytest.mark.parametrize(("process", "broken"), [(4, set()), (5, {"repeated_calls_are_explained"})])
def test_a_call_may_be_repeated_after_the_handler_has_failed_with_an_event_of_the_same_transaction(
    process: int, broken: set[str]
) -> None:
    place = (TOPIC, 0, 0)
    calls = [
        Handling(at=at, actor="books-1", process=4, handler="books/book", event="a", place=place) for at in (20.0, 21.0)
    ]
    other = Raised(at=20.5, actor="books-1", process=process, handler="books/book", event="b", place=(TOPIC, 0, 1))
    facts = [
        fact
        for fact in good()
        if not (isinstance(fact, Handling) and fact.handler == "books/book" and fact.event == "a")
    ]
    assert rules_broken([*facts, *calls, other]) == broken


TOGETHER = [
    Handling(at=13.45 + at, actor="books-1", process=2, handler="books/book", event=event, place=place)
    for at, event, place in ((0.0, "a", (TOPIC, 0, 0)), (0.01, "b", (TOPIC, 0, 1)))
]
"""The events of a key in one transaction; ``good`` has "b" called once more at 13.5."""


def in_one_transaction(*more: AnyFact) -> list[AnyFact]:
    """A good history in which the exactly-once handler is called with "a" only together with "b", and notes both
    after that."""
    about = [
        fact
        for fact in good()
        if isinstance(fact, Handling | Handled | Effect) and fact.handler == "books/book" and fact.event in ("a", "b")
    ]
    noted = [
        Handled(at=13.6 + at, actor="books-1", process=2, handler="books/book", event=event, place=(TOPIC, 0, place))
        for at, event, place in ((0.0, "a", 0), (0.001, "b", 1))
    ]
    effects = [Effect(at=call.at, handler="books/book", event=call.event) for call in TOGETHER]
    others = [fact for fact in good() if fact not in about and fact != offset(11, 1)]
    return [*others, *TOGETHER, *noted, *effects, *more]


def test_events_of_a_key_may_share_a_transaction() -> None:
    assert rules_broken(in_one_transaction()) == set()


@pytest.mark.parametrize("more", [
    [msgspec.structs.replace(TOGETHER[1], at=13.55)],
    [Raised(at=13.452, actor="books-1", process=2, handler="books/book", event="a", place=(TOPIC, 0, 0))],
    [msgspec.structs.replace(TOGETHER[1], at=13.44, process=9)],
], ids=["only the second again", "the first has failed", "the second in another process"])  # fmt: skip
def test_what_was_rolled_back_comes_again_in_turn(more: list[AnyFact]) -> None:
    assert "a_keys_events_are_handled_in_turn" in rules_broken(in_one_transaction(*more))


def test_a_handler_takes_effect_in_turn() -> None:
    late = [
        msgspec.structs.replace(fact, at=13.7)
        if isinstance(fact, Handled) and fact.event == "a" and fact.handler == "books/book"
        else fact
        for fact in in_one_transaction()
    ]
    assert "a_keys_events_are_handled_in_turn" in rules_broken(late)


def test_a_letter_that_was_long_on_its_way_may_be_repeated() -> None:
    late = [msgspec.structs.replace(fact, at=80) if isinstance(fact, Buried) else fact for fact in good()]
    history = [*late, letter(85), Fault(at=49, kind="broker", hits=("kafka",), until=51)]
    assert "repeated_letters_are_explained" not in rules_broken(history)


def test_slowness_is_no_violation_once_something_may_be_broken() -> None:
    history = [fact for fact in delivered_late() if not isinstance(fact, Phase)]
    assert rules_broken([*history, Phase(at=1, name="faults")]) == set()


def test_events_of_a_topic_that_kafka_lacks_may_wait() -> None:
    assert check(held_back(until=110)) == []


@pytest.mark.parametrize(("until", "late"), [(0.6, {"late-1", "late-2"}), (25, {"late-2"})])
def test_what_is_committed_once_the_topic_is_there_may_not_wait(until: float, late: set[str]) -> None:
    found = check(held_back(until))
    assert {violation.rule for violation in found} == {"calm_events_arrive_promptly"}
    assert {event for violation in found for event in violation.events} == late


def test_what_kafka_has_refused_may_be_set_aside() -> None:
    assert rules_broken([*held_back(until=110), SetAside(at=150, event="a")]) == set()


def test_events_of_other_topics_may_not_wait_for_one_that_kafka_lacks() -> None:
    absence = Fault(at=0.5, kind=ABSENT, hits=(LATE,), until=110)
    assert rules_broken([*delivered_late(), absence]) == {"calm_events_arrive_promptly"}


def test_what_was_held_back_keeps_its_order() -> None:
    history = [
        msgspec.structs.replace(fact, place=(LATE, 0, 1 - fact.place[2]))
        if isinstance(fact, Delivered) and fact.place[0] == LATE
        else fact
        for fact in held_back(until=110)
    ]
    assert {"locked_aggregates_keep_their_order", "later_transactions_do_not_overtake"} <= rules_broken(history)


def test_that_kafka_lacked_a_topic_explains_no_duplicate() -> None:
    again = sent("late-1", 111.5, (LATE, 0, 2), "catchup-1")
    assert rules_broken([*held_back(until=110), *again]) == {"duplicate_records_are_explained"}


def test_the_timeline_of_an_event_tells_how_long_kafka_lacked_its_topic() -> None:
    history = held_back(until=25)
    (violation,) = check(history)
    assert any(f"kind={ABSENT}" in line for line in timeline(history, violation))


def test_a_history_comes_back_from_its_file_in_the_order_of_time(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note(*reversed(good()))
    facts = history.read()
    history.close()
    assert [fact.at for fact in facts] == sorted(fact.at for fact in good())
    assert all(fact in good() for fact in facts)
