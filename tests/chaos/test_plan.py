"""The faults of a run follow from its seed."""

from itertools import pairwise

import pytest

from tests.chaos.facts import ABSENT, DIVIDE
from tests.chaos.parts import SERVERS
from tests.chaos.plan import BETWEEN_NODES, KINDS, Planned, plan
from tests.chaos.scenario import CAST

SECONDS = 300.0


def planned(seed: int, *kinds: str) -> list[Planned]:
    return plan(seed, SECONDS, [*CAST], SERVERS, kinds or tuple(KINDS))


def test_a_seed_has_its_faults_and_another_has_others() -> None:
    assert planned(1) == planned(1)
    assert planned(1) != planned(2)


def test_every_kind_is_drawn_and_only_those_that_are_wanted() -> None:
    assert {each.kind for seed in range(5) for each in planned(seed)} == KINDS.keys()
    assert {each.kind for each in planned(1, "kill", "database")} == {"kill", "database"}


@pytest.mark.parametrize("seed", range(5))
def test_a_run_lacks_its_topic_once_until_a_moment_of_its_own(seed: int) -> None:
    (absence,) = planned(seed, ABSENT)
    assert 0.0 == absence.at < absence.seconds <= SECONDS
    assert absence.seconds not in {each.seconds for each in planned(seed + 1, ABSENT)}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("apart", [ABSENT, DIVIDE])
def test_what_is_drawn_apart_changes_no_other_fault(seed: int, apart: str) -> None:
    (only,) = planned(seed, apart)
    assert [each for each in planned(seed) if each != only] == planned(seed, *(KINDS.keys() - {apart}))


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("kind", BETWEEN_NODES)
def test_connections_between_two_nodes_are_broken_once_in_a_run(seed: int, kind: str) -> None:
    (only,) = [each for each in planned(seed) if each.kind == kind and each.target[0].startswith("kafka-")]
    assert {*only.target} < {"kafka-1", "kafka-2", "kafka-3"}
    assert only.target == tuple(sorted({*only.target}))


def test_nothing_is_broken_where_nothing_is_wanted() -> None:
    assert plan(1, SECONDS, [*CAST], SERVERS, ()) == []


@pytest.mark.parametrize("seed", range(5))
def test_all_faults_are_over_at_the_end(seed: int) -> None:
    assert max(each.at + each.seconds for each in planned(seed)) <= SECONDS


@pytest.mark.parametrize("seed", range(5))
def test_what_all_use_is_broken_in_one_way_at_a_time(seed: int) -> None:
    shared = [each for each in planned(seed) if KINDS[each.kind].shared]
    assert all(before.at + before.seconds < after.at for before, after in pairwise(shared))


@pytest.mark.parametrize("seed", range(5))
def test_an_actor_is_broken_in_one_way_at_a_time(seed: int) -> None:
    for actor in CAST:
        its = [each for each in planned(seed) if each.target[:1] == (actor,)]
        assert all(before.at + before.seconds < after.at for before, after in pairwise(its))
