"""Judges a history. A pure function: history in, violations out."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from tests.chaos.evidence import Evidence
from tests.chaos.facts import AnyFact
from tests.chaos.rules import delivery, duplicates, ending, handling, letters, offsets, order, turns
from tests.chaos.violation import Violation

Rule = Callable[[Evidence], Iterator[Violation]]

RULES: tuple[Rule, ...] = (
    delivery.a_commit_is_kept,
    delivery.committed_events_are_delivered,
    delivery.nothing_else_is_delivered,
    delivery.records_are_as_written,
    delivery.what_is_gone_was_acknowledged,
    delivery.calm_events_arrive_promptly,
    delivery.what_is_held_back_is_not_set_aside,
    delivery.only_what_kafka_refuses_is_set_aside,
    order.a_key_stays_in_its_partition,
    order.locked_aggregates_keep_their_order,
    order.later_transactions_do_not_overtake,
    duplicates.duplicate_records_are_explained,
    duplicates.what_is_gone_is_not_sent_again,
    duplicates.repeated_calls_are_explained,
    turns.a_keys_events_are_handled_in_turn,
    handling.handlers_get_what_was_sent,
    handling.exactly_once_effects_are_single,
    handling.effects_have_events,
    handling.every_handler_handles_every_event,
    offsets.offsets_pass_only_finished_records,
    letters.letters_are_brought_in,
    letters.letters_have_a_failure,
    letters.what_took_effect_has_no_open_letter,
    letters.letters_are_as_the_event,
    letters.repeated_letters_are_explained,
    ending.everything_settles,
    ending.no_process_ends_by_itself,
)


def check(facts: Sequence[AnyFact]) -> list[Violation]:
    """Everything in which the history breaks a rule; empty if it is good."""
    evidence = Evidence(sorted(facts, key=lambda fact: fact.at))
    return [replace(violation, rule=rule.__name__) for rule in RULES for violation in rule(evidence)]
