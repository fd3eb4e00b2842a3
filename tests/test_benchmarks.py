"""The benchmark itself: small runs on real parts, the JSON file, and faults in the data that it must see."""

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, cast

import pytest
from confluent_kafka import KafkaException

from benchmarks import __main__ as program
from benchmarks import checking, report, result, scenarios
from benchmarks.counters import Counts
from benchmarks.filling import Load
from benchmarks.machine import about_this_run, disk
from benchmarks.measuring import Measuring, Run, costs_of, ratios_of
from benchmarks.pace import behind
from benchmarks.percentiles import steady
from benchmarks.place import Ground, Place
from benchmarks.processes import Actor, Finished
from benchmarks.result import Result
from benchmarks.scenarios.broadcast import Hearing
from benchmarks.scenarios.startup import StartOfConsume
from benchmarks.variant import Seen, Side, Variant
from tests.processes import ROOT

FIELDS = {"scenario", "variant", "product", "handwritten", "ratio", "unit", "correct", "costs", "problems", "run"}


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "benchmarks", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=600)


def bench_with_servers(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Again where events are in Kafka twice: what it has not acknowledged in time, as the machine stood still, is sent
    once more, and those data are wrong for a benchmark."""
    for _ in range(3):
        done = bench(*arguments)
        told = done.stdout + done.stderr
        if ": doubled in" not in told or ": missing in" in told:
            break
    return done


def some_result(**changes: object) -> Result:
    given: dict[str, object] = {
        "scenario": "drain",
        "variant": "1 process",
        "unit": "events/s",
        "better": "higher",
        "product": 40_000.0,
        "handwritten": 50_000.0,
        "ratio": 0.8,
        "ratio_range": (0.75, 0.85),
        "yardstick": "the loop written by hand",
        "events": 50_000,
        "repeats": 3,
        "correct": True,
        "costs": {
            "product": result.Costs({"catchup": 0.02}, {"catchup": 70.0}, 0.02, 600.0, 1.0),
            "handwritten": result.Costs({"loop": 0.01}, {"loop": 68.0}, 0.02, 600.0, 1.0),
        },
        "run": about_this_run(quick=True) | {"servers": {"PostgreSQL": {"version": "17.2", "disk": "ext4 at /"}}},
    }
    return Result(**(given | changes))  # type: ignore[arg-type]


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_quick_run_measures_both_sides_and_writes_its_results(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = bench_with_servers("drain", "consume", "--quick", "--only", "1 p", "--most", "1", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = json.loads(file.read_text())
    assert {each["scenario"] for each in found} == {"drain", "consume"}
    for each in found:
        assert each.keys() >= FIELDS
        assert each["correct"] and not each["problems"]
        assert each["product"] > 0 and each["handwritten"] > 0 and each["ratio"] > 0
        assert each["costs"]["product"]["statements"] is not None
        assert {"PostgreSQL", "Kafka"} < each["costs"]["product"]["cpu"].keys()
        assert {name: server.keys() for name, server in each["run"]["servers"].items()} == {
            "PostgreSQL": {"version", "disk"},
            "Kafka": {"version", "disk"},
        }
    assert "product, run 1 of 1" in done.stderr, "progress is shown"


@pytest.mark.kafka
@pytest.mark.postgres
def test_a_quick_run_of_broadcast_hears_everything_and_has_all_figures(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    done = bench_with_servers("broadcast", "--quick", "--json", str(file))
    assert done.returncode == 0, done.stderr
    found = {each["variant"]: each for each in json.loads(file.read_text())}
    assert [*found] == ["100/s p50", "100/s p99", "an event, 500 subscribers"]
    assert all(each["correct"] and each["product"] > 0 and each["handwritten"] > 0 for each in found.values())


@dataclass(frozen=True)
class Breaking(Variant):
    """Something is wrong before a process of it has begun."""

    where: str
    scenario: ClassVar[str] = "drain"
    unit: ClassVar[str] = "events/s"
    name = "breaking"
    events = 1

    def prepare(self, ground: Ground) -> None:
        if self.where == "prepare":
            raise KafkaException("broken")

    def actors(self, place: Place, side: Side) -> Sequence[Actor]:
        raise AssertionError("broken")

    def look(self, place: Place, side: Side, finished: Sequence[Finished]) -> Seen:
        return Seen({})


@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize(
    ("where", "problems"),
    [
        ("prepare", ["before or after the runs: KafkaException: broken"]),
        ("actors", ["product: AssertionError: broken", "handwritten: AssertionError: broken"]),
    ],
)
def test_what_breaks_outside_of_the_processes_fails_a_variant_and_not_all(where: str, problems: list[str]) -> None:
    servers = os.environ["DATABASE_URL"], os.environ["KAFKA_BOOTSTRAP_SERVERS"]
    (found,) = Measuring(*servers, "template0", 1, {}).measure(Breaking(where), lambda text: None)
    assert not found.correct
    assert found.problems == problems


def test_what_was_measured_before_the_end_is_in_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        """Measures one variant; then somebody presses Ctrl-C."""

        def __init__(self, *_: object) -> None:
            self._left = [some_result()]

        def measure(self, *_: object) -> list[Result]:
            if not self._left:
                raise KeyboardInterrupt
            return [self._left.pop()]

    for name in ("DATABASE_URL", "KAFKA_BOOTSTRAP_SERVERS"):
        monkeypatch.setenv(name, "never-used")
    monkeypatch.setattr(program, "about_servers", lambda *_: {})
    monkeypatch.setattr(program, "warm_up", lambda *_, **__: None)
    monkeypatch.setattr(program, "migrated_database", nullcontext)
    monkeypatch.setattr(program, "Measuring", Interrupted)
    file = tmp_path / "results.json"
    with pytest.raises(KeyboardInterrupt):
        program.main(["drain", "--quick", "--json", str(file)])
    assert [each.name for each in result.load(file)] == [some_result().name]


@pytest.mark.long
@pytest.mark.kafka
@pytest.mark.postgres
@pytest.mark.parametrize("scenario", scenarios.NAMES)
def test_a_quick_run_of_each_scenario_leaves_the_right_data(scenario: str) -> None:
    done = bench_with_servers(scenario, "--quick")
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("heard", [[("key-0", 0)], [("key-0", 1), ("key-0", 0)], [("key-0", 0), ("key-0", 1)] * 2])
def test_what_a_handler_of_broadcast_heard_otherwise_is_wrong(heard: list[tuple[str, int]]) -> None:
    told = {"heard": [(*each, 0.001) for each in heard]}
    finished = [Finished(name, 0.0, 1.0, 0.1, 1, told) for name in ("sender", "hearer")]
    place = cast(Place, None)  # it looks at nothing else
    assert Hearing(100, 2).look(place, Side.PRODUCT, finished).problems


@pytest.mark.parametrize(("partitions", "is_right"), [([0, 1], True), ([0], False), ([], False)])
def test_a_group_that_has_not_all_partitions_has_not_started(partitions: list[int], is_right: bool) -> None:
    finished = [Finished("consume", 0.0, 1.0, 0.1, 1, {"partitions": partitions})]
    place = cast(Place, None)  # it looks at nothing else
    assert (not StartOfConsume().look(place, Side.PRODUCT, finished).problems) == is_right


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["drian"], "there is no scenario 'drian'; choose from drain"),
        (["--repeat", "0"], "--repeat 0: give a number of at least 1"),
        (["--compare", "/nowhere.json"], "/nowhere.json is no file of results"),
        (["--json", "/nowhere/a.json"], "there is no folder /nowhere"),
        (["drain", "--only", "nothing"], "no variant of drain has 'nothing' in its name"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_do(arguments: list[str], text: str) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert text in done.stderr


def test_all_scenarios_have_variants_with_names_of_their_own() -> None:
    for scenario in scenarios.NAMES:
        for quick in (True, False):
            found = scenarios.variants(scenario, quick=quick)
            assert {each.scenario for each in found} == {scenario}
            assert len({each.name for each in found}) == len(found) > 0


def test_the_yardsticks_load_nothing_of_ours() -> None:
    """With their own settings, and as far as importing them goes, in which the site of each is set up."""
    names = sorted(path.stem for path in (ROOT / "benchmarks/handwritten").glob("[a-z]*.py"))
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]:\n"
        "    importlib.import_module(f'benchmarks.handwritten.{name}')\n"
        "print(*(name for name in sys.modules if name.startswith(('django_events', 'testproject'))))\n"
    )
    env = {
        "DJANGO_SETTINGS_MODULE": "benchmarks.handwritten.settings",
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/never-used",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "EVENTS_PREFIX": "never-used.",
    }
    command = [sys.executable, "-c", code, *names]
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, **env}, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    assert {"consume", "web"} <= {*names} and done.stdout.split() == []


def test_results_are_read_as_they_were_saved(tmp_path: Path) -> None:
    file = tmp_path / "results.json"
    saved = some_result()
    result.save([saved], file)
    assert result.load(file) == [saved]


def test_a_comparison_tells_better_from_worse() -> None:
    before = [some_result(), some_result(scenario="latency", better="lower")]
    now = [some_result(ratio=0.6), some_result(scenario="latency", better="lower", ratio=0.4)]
    worse, better = report.comparison(now, before)
    assert "0.80 → 0.60 (-25%) WORSE" in worse
    assert "0.80 → 0.40 (-50%) better" in better


def test_the_report_says_when_data_was_wrong() -> None:
    text = "\n".join(report.lines([some_result(correct=False, problems=["Kafka: missing"])]))
    assert "WRONG DATA" in text
    assert "WRONG: Kafka: missing" in text


def test_a_pace_that_was_not_kept_up_is_told() -> None:
    assert behind(1_000, 950.0) == []
    assert behind(1_000, 466.2) == ["only 466 a second instead of 1,000"]


def test_the_disk_of_a_folder_is_the_nearest_mount_and_memory_is_told() -> None:
    mounts = "overlay / overlay rw 0 0\ntmpfs /dev/shm tmpfs rw 0 0\n/dev/b /data ext4 rw 0 0\n"
    found = [disk(Path(folder), mounts) for folder in ("/tmp/x", "/dev/shm/x/data", "/database", "/data/x")]
    assert found == ["overlay at /", "tmpfs at /dev/shm, which is memory", "overlay at /", "ext4 at /data"]


EXPECTED = Load(events=6, keys=2).expected()


def test_each_key_of_a_load_has_one_topic() -> None:
    load = Load(events=2_000, keys=100, topics=50)
    topics_of: dict[int, set[str]] = {}
    for at in range(load.events):
        topics_of.setdefault(at % load.keys, set()).add(load.names[at % load.topics])
    assert all(len(topics) == 1 for topics in topics_of.values())
    assert len(set[str]().union(*topics_of.values())) == 50
    assert Load(1).names == ["bench.measured"]


def test_who_waited_for_processes_to_connect_is_left_out_of_latencies() -> None:
    began = {"a": 0.0, "b": 1.0, "c": 2.0, "lost": 3.0}
    assert steady(began, {"a": 1.5, "b": 1.75, "c": 2.25}) == [0.25], "b began before a had ended"
    assert steady(began, {"a": 5.0, "b": 5.0}) == [5.0, 4.0], "all of them, if there is nobody else"
    assert steady(began, {}) == []


def test_there_is_no_ratio_to_what_is_too_small_or_missing() -> None:
    assert ratios_of([3.0, 3.0, None, 3.0], [1.5, 0.5, 1.5, None], least=1.0) == [2.0]
    assert ratios_of([3.0, 3.0], [0.5, 0.0]) == [6.0]


def test_processes_of_one_name_are_told_as_one() -> None:
    finished = [Finished("catchup", 0.0, 1.0, cpu, memory, {}) for cpu, memory in ((1.0, 50), (3.0, 40))]
    run = Run(Seen({}), finished, Counts(None, 0, 0), {"Kafka": 2.0})
    found = costs_of(1_000, [run, run])
    assert found.cpu == {"catchup": 4.0, "Kafka": 2.0}
    assert found.memory == {"catchup": 50 / 1e6}


def test_right_data_has_no_differences() -> None:
    assert EXPECTED == {"key-0": [0, 1, 2], "key-1": [0, 1, 2]}
    assert checking.differences("Kafka", EXPECTED, EXPECTED) == []


@pytest.mark.parametrize(
    ("numbers", "fault"),
    [([0, 2], "missing"), ([0, 1, 1, 2], "doubled"), ([0, 2, 1], "out of order")],
)
def test_every_fault_of_the_data_is_seen(numbers: list[int], fault: str) -> None:
    (problem,) = checking.differences("Kafka", EXPECTED | {"key-1": numbers}, EXPECTED)
    assert problem.startswith(f"Kafka: {fault} in 1 keys, such as 'key-1'")


def test_a_key_that_nobody_made_is_seen() -> None:
    (problem,) = checking.differences("Kafka", EXPECTED | {"strange": [0]}, EXPECTED)
    assert "'strange', which nobody made" in problem
