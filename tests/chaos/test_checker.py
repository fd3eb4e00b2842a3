"""Each rule finds the history that is made to break it, and a good history breaks none."""

from pathlib import Path

import msgspec
import pytest

from tests.chaos import standstills
from tests.chaos.checker import RULES, check
from tests.chaos.facts import (
    ABSENT,
    ACTOR,
    DATABASE,
    FALTERING,
    KAFKA,
    REFUSE,
    STANDSTILL,
    Aborted,
    Acknowledged,
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
from tests.chaos.planted import BUGS
from tests.chaos.result import summed_up
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
        Acknowledged(at=at + 0.005, actor=actor, process=1, events=(event,)),
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
        Raised(at=50.35, actor="watch-1", process=2, handler="watch/note", event="ill", place=third),
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


def restless(history: list[AnyFact]) -> list[AnyFact]:
    """The history without a phase in which events have to arrive promptly."""
    return [*(fact for fact in history if not isinstance(fact, Phase)), Phase(at=1, name="faults")]


def delivered_late() -> list[AnyFact]:
    """The second event is in Kafka, and known to be there, seven seconds late."""
    late = [fact for fact in good() if isinstance(fact, Delivered | Sent) and fact.event == "b"]
    moved = [msgspec.structs.replace(fact, at=fact.at + 7) for fact in late]
    return [*(fact for fact in good() if fact not in late), *moved]


def given(body: str, place: Place = (TOPIC, 0, 0)) -> list[AnyFact]:
    """A good history that tells what a handler was given with its first call."""
    return [
        msgspec.structs.replace(fact, key="ann", body=body, place=place)
        if isinstance(fact, Handling) and (fact.handler, fact.event) == ("watch/note", "a")
        else fact
        for fact in good()
    ]


def set_aside(size: int, *more: AnyFact) -> list[AnyFact]:
    """A history in which an event of so many bytes was set aside."""
    body = "x" * size
    return [
        *[
            msgspec.structs.replace(fact, body=body)
            if isinstance(fact, Intent | Delivered) and fact.event == "a"
            else fact
            for fact in good()
        ],
        SetAside(at=150, event="a"),
        *more,
    ]


def refusal(begin: float, end: float) -> Fault:
    return Fault(at=begin, kind=REFUSE, hits=("kafka",), until=end, about=TOPIC)


def called_out_of_turn(handler: str) -> list[AnyFact]:
    """The handler is called with the second event of the key shortly before it is done with the first."""
    return [
        msgspec.structs.replace(fact, at=13.7)
        if isinstance(fact, Handled) and (fact.handler, fact.event) == (handler, "a")
        else fact
        for fact in good()
    ]


DUPLICATE = sent("a", 60, (TOPIC, 0, 3), "catchup-1") + handled("watch/note", "a", 61, (TOPIC, 0, 3), "watch-1")
DUPLICATED = restless([*without(Sent, event="a"), *DUPLICATE])
"""The first sender did not come to the end of its round, and nobody knows why."""

CALLED_AGAIN = [Handling(at=20, actor="watch-2", process=3, handler="watch/note", event="a", place=(TOPIC, 0, 0))]

BAD: dict[str, list[AnyFact]] = {
    "a_commit_is_kept": [*good(), intent("c", 20, "c"), Committed(at=21, transaction="c")],
    "committed_events_are_delivered": [*good(), intent("c", 20), *committed("c", 21)],
    "nothing_else_is_delivered": [*good(), delivered("rolled-back", 20, (TOPIC, 0, 3))],
    "records_are_as_written": [
        msgspec.structs.replace(fact, body="{ }") if isinstance(fact, Delivered) else fact for fact in good()
    ],
    "what_is_gone_was_acknowledged": without(Acknowledged, events=("b",)),
    "calm_events_arrive_promptly": delivered_late(),
    "what_is_held_back_is_not_set_aside": [*held_back(until=110), SetAside(at=150, event="late-1")],
    "only_what_kafka_refuses_is_set_aside": set_aside(3_000),
    "a_key_stays_in_its_partition": [*good(), delivered("b", 13.45, (TOPIC, 1, 0))],
    "locked_aggregates_keep_their_order": swapped(),
    "later_transactions_do_not_overtake": unlocked(swapped()),
    "duplicate_records_are_explained": DUPLICATED,
    "what_is_gone_is_not_sent_again": [*good(), *DUPLICATE],
    "repeated_calls_are_explained": [*good(), *CALLED_AGAIN],
    "a_keys_events_are_handled_in_turn": called_out_of_turn("watch/note"),
    "handlers_get_what_was_sent": given("{ }"),
    "exactly_once_effects_are_single": [*good(), Effect(at=20, handler="books/book", event="a")],
    "effects_have_events": [*good(), Effect(at=20, handler="watch/note", event="rolled-back")],
    "every_handler_handles_every_event": without(Effect, handler="watch/note", event="b"),
    "offsets_pass_only_finished_records": [*good(), offset(13.45, 2)],
    "letters_are_brought_in": without(Kept),
    "letters_have_a_failure": without(Raised),
    "what_took_effect_has_no_open_letter": [
        *good(),
        Kept(at=900, handler="books/book", event="a", state="waiting"),
    ],
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


def test_planted_bugs_are_to_break_rules_that_there_are() -> None:
    names = {rule.__name__ for rule in RULES}
    assert {bug.name: bug.by - names for bug in BUGS.values() if not bug.by or bug.by - names} == {}


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


@pytest.mark.parametrize(("process", "broken"), [(9, set()), (2, {"a_keys_events_are_handled_in_turn"})])
def test_another_process_finds_the_mark_of_an_event_before_who_has_made_it_can_note_it(
    process: int, broken: set[str]
) -> None:
    """The partition has just changed hands."""
    history = [
        msgspec.structs.replace(fact, at=13.55)
        if isinstance(fact, Handled) and (fact.handler, fact.event) == ("books/book", "a")
        else msgspec.structs.replace(fact, at=13.5, process=process)
        if isinstance(fact, Handling | Handled) and (fact.handler, fact.event) == ("books/book", "b")
        else fact
        for fact in without(OffsetsCommitted, group="books")
    ]
    assert rules_broken(history) == broken


@pytest.mark.parametrize("state", ["resolved", "running", "discarded"])
def test_a_dead_letter_that_does_not_wait_is_no_excuse(state: str) -> None:
    history = [*without(Kept), Kept(at=900, handler="watch/note", event="ill", state=state)]
    assert rules_broken(history) == {"every_handler_handles_every_event"}


def test_a_history_without_an_end_is_bad() -> None:
    assert rules_broken(without(Settled)) == {"everything_settles"}


@pytest.mark.parametrize("hits", [("web-1",), ("catchup-1",), ("kafka",), ("database",)])
def test_a_duplicate_record_may_have_been_caused_by_a_fault(hits: tuple[str, ...]) -> None:
    fault = Fault(at=55, kind="kill", hits=hits, until=56)
    assert rules_broken([*DUPLICATED, fault]) == set()


@pytest.mark.parametrize("fault", [
    Fault(at=55, kind="kill", hits=("web-2",), until=56),
    Fault(at=80, kind="kill", hits=("web-1",), until=81),
])  # fmt: skip
def test_a_fault_elsewhere_or_later_explains_no_duplicate(fault: Fault) -> None:
    assert rules_broken([*DUPLICATED, fault]) == {"duplicate_records_are_explained"}


@pytest.mark.parametrize(("hits", "broken"), [
    ("catchup-1", set()), ("database", set()), ("web-1", {"what_is_gone_is_not_sent_again"}),
    ("kafka", {"what_is_gone_is_not_sent_again"}),
])  # fmt: skip
def test_only_who_has_lost_its_lane_may_send_what_another_has_sent_for_good(hits: str, broken: set[str]) -> None:
    fault = Fault(at=55, kind="stall", hits=(hits,), until=56)
    assert rules_broken([*good(), *DUPLICATE, fault]) == broken


def test_two_that_send_an_event_at_once_are_found_though_kafka_is_slow() -> None:
    history = [
        *without(Sending, events=("a",)),
        Sending(at=9.5, actor="web-1", process=1, events=("a",)),
        Sending(at=9.9, actor="catchup-1", process=4, events=("a",)),
        delivered("a", 10.25, (TOPIC, 0, 3)),
        *handled("watch/note", "a", 61, (TOPIC, 0, 3), "watch-1"),
    ]
    assert rules_broken(history) == {"what_is_gone_is_not_sent_again"}


def test_two_threads_of_a_process_do_not_send_the_same_event() -> None:
    twice = [
        Sending(at=10.0 + n / 10, actor="catchup-1", process=4, thread=thread, events=("a",))
        for n, thread in enumerate(("first", "second"))
    ]
    told: list[AnyFact] = [
        Acknowledged(at=10.2, actor="catchup-1", process=4, events=("a",)),
        Sent(at=10.3, actor="catchup-1", process=4, thread="first", event="a"),
    ]
    others = [fact for fact in good() if not (isinstance(fact, Sent) and fact.event == "a")]
    assert rules_broken([*others, *twice, *told]) == {"what_is_gone_is_not_sent_again"}


@pytest.mark.parametrize(("slowness", "broken"), [(0.8, set()), (0.2, {"duplicate_records_are_explained"})])
def test_a_slow_kafka_may_have_caused_a_duplicate_record(slowness: float, broken: set[str]) -> None:
    first = Sending(at=10.2 - slowness, actor="web-1", process=1, events=("a",))
    others = [fact for fact in DUPLICATED if not (isinstance(fact, Sending) and fact.at < 11 and fact.events == ("a",))]
    assert rules_broken([*others, first]) == broken


@pytest.mark.parametrize(("later", "broken"), [
    ([], set()),
    ([Sending(at=11, actor="web-1", process=7, events=("b",))], {"duplicate_records_are_explained"}),
    ([Sending(at=11, actor="web-1", process=7, thread="another", events=("b",))], set()),
    (
        [Sending(at=60, actor="web-1", process=7, thread="another", events=("b",))],
        {"duplicate_records_are_explained"},
    ),
    (
        [
            Acknowledged(at=11, actor="web-1", process=7, events=("a",)),
            Sent(at=11.1, actor="web-1", process=7, event="a"),
        ],
        {"duplicate_records_are_explained", "what_is_gone_is_not_sent_again"},
    ),
])  # fmt: skip
def test_only_the_last_round_of_a_process_may_have_been_left_unfinished(later: list[AnyFact], broken: set[str]) -> None:
    last = Sending(at=10.1, actor="web-1", process=7, events=("a",))
    others = [fact for fact in good() if not isinstance(fact, Sending | Sent)]
    assert rules_broken(restless([*others, *DUPLICATE, last, *later])) == broken


@pytest.mark.parametrize("reason", [
    Fault(at=15, kind="freeze", hits=("watch-1",), until=16),
    Raised(at=10.35, actor="watch-1", process=2, handler="watch/note", event="a", place=(TOPIC, 0, 0)),
])  # fmt: skip
def test_a_repeated_call_may_have_a_reason(reason: AnyFact) -> None:
    assert rules_broken([*good(), *CALLED_AGAIN, reason]) == set()


@pytest.mark.parametrize("at", [10.2, 20.1])
def test_a_failure_before_or_after_two_calls_is_no_reason_for_the_second(at: float) -> None:
    failure = Raised(at=at, actor="watch-1", process=2, handler="watch/note", event="a", place=(TOPIC, 0, 0))
    assert rules_broken([*good(), *CALLED_AGAIN, failure]) == {"repeated_calls_are_explained"}


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


def faltering(begin: float, end: float, server: str = KAFKA) -> Fault:
    return Fault(at=begin, kind=FALTERING, hits=(server,), until=end)


@pytest.mark.parametrize("falterings", [
    [faltering(14, 16.5)],
    [faltering(14, 15.5), faltering(18, 19, DATABASE)],
    [faltering(5, 14), faltering(18, 25)],
], ids=["at once", "twice", "around it"])  # fmt: skip
def test_an_event_need_not_arrive_while_a_server_falters(falterings: list[Fault]) -> None:
    assert rules_broken([*delivered_late(), *falterings]) == set()


@pytest.mark.parametrize("falterings", [
    [faltering(14, 16)],
    [faltering(14, 16), faltering(15, 16), faltering(15.5, 15.6, DATABASE)],
    [faltering(5, 13), faltering(21, 30)],
], ids=["shortly", "shortly for several", "before and after it"])  # fmt: skip
def test_only_the_seconds_of_a_faltering_server_do_not_count(falterings: list[Fault]) -> None:
    assert rules_broken([*delivered_late(), *falterings]) == {"calm_events_arrive_promptly"}


@pytest.mark.parametrize(("begin", "end", "broken"), [
    (15, 17, set()), (3, 9.5, set()), (7, 9.5, {"repeated_calls_are_explained"}),
], ids=["meanwhile", "for long before", "shortly before"])  # fmt: skip
def test_a_server_that_falters_may_cause_what_a_fault_may(begin: float, end: float, broken: set[str]) -> None:
    assert rules_broken([*good(), *CALLED_AGAIN, faltering(begin, end)]) == broken


def standstill(begin: float, end: float, actor: str = "watch-1") -> Fault:
    return Fault(at=begin, kind=STANDSTILL, hits=(actor,), until=end)


@pytest.mark.parametrize(("begin", "end", "actor", "broken"), [
    (15, 17, "watch-1", set()), (15, 17, "watch-2", set()), (6, 9.5, "watch-1", set()),
    (8, 9.5, "watch-1", {"repeated_calls_are_explained"}), (15, 17, "books-1", {"repeated_calls_are_explained"}),
], ids=["the first", "the second", "for long before", "shortly before", "of another group"])  # fmt: skip
def test_a_process_that_stood_still_may_cause_what_a_frozen_one_may(
    begin: float, end: float, actor: str, broken: set[str]
) -> None:
    assert rules_broken([*good(), *CALLED_AGAIN, standstill(begin, end, actor)]) == broken


@pytest.mark.parametrize(("end", "broken"), [(16.5, set()), (16, {"calm_events_arrive_promptly"})])
def test_the_seconds_of_a_standstill_do_not_count(end: float, broken: set[str]) -> None:
    assert rules_broken([*delivered_late(), standstill(14, end, "web-2")]) == broken


@pytest.mark.parametrize(("used", "noted"), [(0.5, [(STANDSTILL, ("books-1",), 10.2, 15.4)]), (3.0, [])])
def test_a_process_notes_that_it_stood_still_unless_it_has_worked_meanwhile(
    used: float, noted: list[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[Fault] = []
    looks, processor = iter([10.0, 10.2, 15.4, 15.6]), iter([1.0, 1.1, 1.1 + used, 1.2 + used])
    monkeypatch.setattr(standstills, "note", found.append)
    monkeypatch.setenv(ACTOR, "books-1")
    with pytest.raises(StopIteration):
        standstills.note_standstills(lambda: next(looks), lambda: next(processor), sleep=lambda seconds: None)
    assert [(each.kind, each.hits, each.at, each.until) for each in found] == noted


def test_what_is_only_noticed_is_not_counted_as_a_fault() -> None:
    kill = Fault(at=20, kind="kill", hits=("web-1",), until=21)
    facts: list[AnyFact] = [*good(), kill, faltering(30, 32), standstill(34, 36), standstill(38, 40)]
    result = summed_up(1, "", Path("history"), facts, [], 1.0)
    assert (result.faults, result.falterings) == ({"kill": 1}, 1)


def test_events_of_a_topic_that_kafka_lacks_may_wait() -> None:
    assert check(held_back(until=110)) == []


@pytest.mark.parametrize(("until", "late"), [(0.6, {"late-1", "late-2"}), (25, {"late-2"})])
def test_what_is_committed_once_the_topic_is_there_may_not_wait(until: float, late: set[str]) -> None:
    found = check(held_back(until))
    assert {violation.rule for violation in found} == {"calm_events_arrive_promptly"}
    assert {event for violation in found for event in violation.events} == late


BROKEN = {"only_what_kafka_refuses_is_set_aside"}


@pytest.mark.parametrize(("size", "begin", "end", "broken"), [
    (3_000, 9, 11, set()), (3_000, 5, 6, set()), (100, 9, 11, BROKEN), (3_000, 11, 12, BROKEN), (3_000, 1, 2, BROKEN),
])  # fmt: skip
def test_what_kafka_has_refused_may_be_set_aside(size: int, begin: float, end: float, broken: set[str]) -> None:
    assert rules_broken(set_aside(size, refusal(begin, end))) == broken


def test_a_handler_may_be_given_what_its_record_has() -> None:
    assert rules_broken(given("{}")) == set()
    assert "handlers_get_what_was_sent" in rules_broken(given("{}", place=(TOPIC, 0, 9)))


def test_a_letter_may_come_of_a_fault() -> None:
    fault = Fault(at=49, kind="database", hits=("database",), until=51)
    assert rules_broken([*without(Raised), fault]) == set()


def test_a_letter_of_a_record_that_nobody_was_called_with_is_judged() -> None:
    found = rules_broken([*without(Handling, handler="watch/note", event="ill"), letter(70)])
    assert found >= {"repeated_letters_are_explained"}


def test_a_process_may_say_that_its_stop_took_too_long() -> None:
    end = Ended(at=150, actor="books-1", process=2, code=1, wanted=True, too_late=True)
    assert rules_broken([*good(), end]) == set()
    assert rules_broken([*good(), msgspec.structs.replace(end, wanted=False)]) == {"no_process_ends_by_itself"}


@pytest.mark.parametrize(("code", "broken"), [
    (0, set()), (-9, set()), (-15, set()), (1, {"no_process_ends_by_itself"}), (-11, {"no_process_ends_by_itself"}),
])  # fmt: skip
def test_how_a_process_ends_that_was_to_end(code: int, broken: set[str]) -> None:
    assert rules_broken([*good(), Ended(at=150, actor="web-1", process=1, code=code, wanted=True)]) == broken


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
    unsent = [fact for fact in held_back(until=110) if not (isinstance(fact, Sent) and fact.event == "late-1")]
    assert rules_broken([*unsent, *again]) == {"duplicate_records_are_explained"}


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


def test_what_a_killed_process_left_of_a_line_spoils_no_other(tmp_path: Path) -> None:
    history = History(tmp_path / "history.jsonl")
    history.note(Phase(at=1, name="calm"))
    with history.path.open("ab") as file:
        file.write(b'\n{"fact":"Phase","at":2,"na')
    history.note(Phase(at=3, name="faults"))
    facts = history.read()
    history.close()
    assert [fact.at for fact in facts] == [1, 3]
