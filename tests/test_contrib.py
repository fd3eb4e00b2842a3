"""What is in contrib/ fits the product: names of metrics, the runbook, commands. A real Prometheus raises alarms."""

import json
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from django.db import connection
from django.db.models import F

from django_events import metrics
from django_events.management.commands import catchup, consume, events
from django_events.models import OutgoingEvent
from tests.broker import Broker
from tests.running_demo import running
from tests.services import REQUIRED
from tests.services.installing import Unavailable, find
from tests.services.kafka import KafkaServer
from tests.services.prometheus import Prometheus, program
from tests.waiting import wait_for

ROOT = Path(__file__).parent.parent
CONTRIB = ROOT / "contrib"
ALERTS = (CONTRIB / "prometheus" / "alerts.yml").read_text()
DASHBOARD = (CONTRIB / "grafana" / "dashboard.json").read_text()
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()

KUBERNETES = "1.33"
"""The version that the examples are held against."""

NAMES = re.findall(r"alert: (\w+)", ALERTS)


def known() -> set[str]:
    """The names that Prometheus knows our metrics by."""
    found = {metric.name for metric in metrics.ALL}
    for metric in metrics.ALL:
        if metric.kind == "histogram":
            found |= {f"{metric.name}_{part}" for part in ("bucket", "count", "sum")}
    return found


def expressions() -> list[str]:
    """All that the dashboard asks Prometheus."""
    asked = [target["expr"] for panel in json.loads(DASHBOARD)["panels"] for target in panel.get("targets", [])]
    return asked + [each["definition"] for each in json.loads(DASHBOARD)["templating"]["list"] if "definition" in each]


def test_every_metric_that_is_named_exists() -> None:
    asked = ALERTS + "\n".join(expressions())
    used = set(re.findall(r"django_events_\w+", asked))
    assert len(used) > 25
    assert not sorted(used - known())
    assert set(re.findall(r"django_events_\w+", RUNBOOK)) <= known()


def test_every_label_that_is_named_is_one_of_its_metric() -> None:
    labels = {metric.name: {*metric.labels, "job", "instance", "le"} for metric in metrics.ALL}
    for name, selector in re.findall(r"(django_events_\w+)\{([^}]*)\}", ALERTS + "\n".join(expressions())):
        base = name if name in labels else re.sub(r"_(bucket|count|sum)$", "", name)
        assert set(re.findall(r"(\w+)=", selector)) <= labels[base], name


def test_every_alert_is_in_the_runbook_and_the_other_way_round() -> None:
    assert len(NAMES) == len(set(NAMES)) >= 12
    assert re.findall(r"^## (DjangoEvents\w+)$", RUNBOOK, re.M) == NAMES
    assert re.findall(r"runbook: docs/runbook\.md#(\w+)", ALERTS) == [name.lower() for name in NAMES]
    severities = re.findall(r"severity: (\w+)", ALERTS)
    assert [each.lower() for each in re.findall(r"^\*\*(Critical|Warning)\.", RUNBOOK, re.M)] == severities


def test_every_category_of_errors_is_in_the_runbook() -> None:
    told = re.sub(r"\(.*?\)", "", metrics.ERRORS.text.rpartition("category: ")[2])
    categories = [each.strip(" .") for each in told.split(",")]
    assert "kafka" in categories
    rows = re.findall(r"^\| `(\w+)` \|", RUNBOOK, re.M)
    assert set(categories) <= set(rows)


def test_every_link_of_the_runbook_leads_somewhere() -> None:
    for page, anchor in re.findall(r"\]\(([\w-]*\.md)?(?:#([\w-]+))?\)", RUNBOOK):
        text = (ROOT / "docs" / page).read_text() if page else RUNBOOK
        titles = [
            re.sub(r"[^\w -]", "", title).lower().replace(" ", "-") for title in re.findall(r"^#+ (.*)", text, re.M)
        ]
        assert not anchor or anchor in titles, (page, anchor)


def test_every_command_of_the_runbook_can_be_given() -> None:
    found = re.findall(r"manage\.py events ([^`\n#]+)", re.sub(r"\n  (?! )", " ", RUNBOOK))
    assert len(found) > 12
    for text in found:
        words = shlex.split(text.replace("ID", "1"))
        try:
            events.Command().create_parser("manage.py", "events").parse_args(words)
        except Exception as error:
            raise AssertionError(f"manage.py events {text}: {error}") from error


@pytest.mark.parametrize("path", ["compose.yaml", "kubernetes/consume.yaml", "kubernetes/catchup.yaml"])
def test_every_command_of_the_examples_can_be_given_and_has_time_to_stop(path: str) -> None:
    text = (CONTRIB / path).read_text()
    kinds: dict[str, Any] = {"consume": consume.Command, "catchup": catchup.Command}
    found = 0
    for name, kind in kinds.items():
        options = re.findall(rf"\[python, manage\.py, {name}, ([^\]]*)\]", text)
        options += re.findall(rf"- manage\.py\n +- {name}\n((?: +- --\S+\n)+)", text)
        for each in options:
            found += 1
            given = kind().create_parser("manage.py", name).parse_args(re.findall(r"--[\w-]+=[^\s,]+", each))
            grace = int(re.findall(r"(?:terminationGracePeriodSeconds|stop_grace_period): (\d+)", text)[0])
            assert grace > getattr(given, "shutdown_timeout", 30) + 10
            assert given.metrics_port == 9464
    assert found


@pytest.mark.parametrize("file", sorted((CONTRIB / "kubernetes").glob("*.yaml")), ids=lambda file: str(file.stem))
def test_kubernetes_knows_all_that_its_examples_say(file: Path) -> None:
    for described in yaml.safe_load_all(file.read_text()):
        kubernetes_validate.validate(described, KUBERNETES, strict=True)


def test_compose_understands_its_file(tmp_path: Path) -> None:
    try:
        program = find("docker-compose", "docker-compose", "--no-install-recommends")
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no docker-compose: {error}")
    # Debian has Docker Compose 1, which takes all of the specification but the name of the whole.
    (tmp_path / "compose.yaml").write_text(re.sub("^name: .*$", "", (CONTRIB / "compose.yaml").read_text(), flags=re.M))
    done = subprocess.run([program, "-f", "compose.yaml", "config"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    services = yaml.safe_load(done.stdout)["services"]
    assert services["web"]["command"] == ["gunicorn", "mysite.wsgi", "--bind=0.0.0.0:8000", "--workers=3"]
    assert services["consume"]["environment"] == services["catchup"]["environment"]


def test_compose_names_images_as_everybody_can_pull_them() -> None:
    images = re.findall(r"image: (\S+)", (CONTRIB / "compose.yaml").read_text())
    assert [image for image in images if image != "site"] == [
        "docker.io/apache/kafka:4.3.1",
        "docker.io/library/postgres:17",
        "docker.io/prom/prometheus:v3.5.0",
        "docker.io/grafana/grafana:12.1.1",
    ]


# ── a real Prometheus ────────────────────────────────────────────────────────────────────────────────────────────────


def promtool(folder: Path, *arguments: str) -> str:
    """What Prometheus' own tool says in this folder; it must be content."""
    try:
        tool = program("promtool")
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no Prometheus: {error}")
    done = subprocess.run([tool, *arguments], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_prometheus_own_tool_finds_nothing_wrong_with_rules_and_configuration() -> None:
    for arguments in (("rules", "alerts.yml"), ("config", "prometheus.yml")):
        assert f"{len(NAMES)} rules found" in promtool(CONTRIB / "prometheus", "check", *arguments)


def test_prometheus_understands_all_that_the_dashboard_asks(tmp_path: Path) -> None:
    asked = [target["expr"] for panel in json.loads(DASHBOARD)["panels"] for target in panel.get("targets", [])]
    values = {"$__rate_interval": "1m", "$job": ".*", "$group": ".*"}
    asked = [re.sub(r"\$\w+", lambda name: values[name.group()], each) for each in asked]
    rules = [{"record": f"asked:{number}", "expr": each} for number, each in enumerate(asked)]
    (tmp_path / "rules.yml").write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(asked)} rules found" in promtool(tmp_path, "check", "rules", "rules.yml")


A_PROCESS = 'django_events_build_info{version="1"} 1+0x30'
HANDLED = 'django_events_handler_outcomes_total{instance="i",group="g",handler="h",outcome="handled"} 0+60x30'
AT_WORK = [
    A_PROCESS,
    HANDLED,
    'up{job="django-events-web"} 1+0x30',
    'django_events_tables_read{database="default"} 1+0x30',
    'django_events_outbox_waiting_rows{database="default",topic="t"} 100+0x30',
    'django_events_outbox_oldest_waiting_seconds{database="default",topic="t"} 2+0x30',
    'django_events_sent_total{topic="t",method="relay"} 0+60x30',
    'django_events_errors_total{category="kafka"} 3+0x30',
    'django_events_consumer_oldest_unhandled_seconds{instance="i",group="g",topic="t"} 3+0x30',
    'django_events_consumer_lag_events{instance="i",group="g",topic="t"} 300+0x30',
    'django_events_consumer_missed_events_total{instance="i",group="g",topic="t"} 7+0x30',
    'django_events_consumer_assigned_partitions{instance="i",group="g"} 2+0x30',
    'django_events_consumer_assigned_partitions{instance="j",group="g"} 0+0x30',
    'django_events_consumer_last_poll_timestamp_seconds{instance="i",group="g"} 0+60x30',
    'django_events_consumer_last_commit_timestamp_seconds{instance="i",group="g"} 0+60x30',
    'django_events_consumer_rebalances_total{group="g",change="revoked"} 4+0x30',
    'django_events_handler_longest_running_seconds{instance="i",group="g",handler="h"} 5+0x30',
    'django_events_handler_outcomes_total{instance="i",group="g",handler="h",outcome="again"} 0+1x30',
    'django_events_dead_letters{group="g",handler="h",state="waiting"} 3+0x30',
    'django_events_dead_letters_oldest_seconds{group="g",handler="h"} 600+0x30',
    'django_events_broadcast_latency_seconds{instance="i",handler="h"} 9+0x30',
]
"""What a site tells that is well, for half an hour: a value, what is added each minute, how often."""

WRONG = {
    "DjangoEventsProcessDown": ['up{job="django-events-web",instance="a"} 0+0x30'],
    "DjangoEventsNoMetrics": [],
    "DjangoEventsTablesNotRead": ['django_events_tables_read{database="default",instance="a"} 0+0x30'],
    "DjangoEventsOutboxOld": ['django_events_outbox_oldest_waiting_seconds{database="default",topic="u"} 70+0x30'],
    "DjangoEventsOutboxGrows": ['django_events_outbox_waiting_rows{database="default",topic="u"} 5001+0x30'],
    "DjangoEventsNothingAcknowledged": [
        A_PROCESS,
        'django_events_outbox_waiting_rows{database="default",topic="t"} 1+0x30',
        'django_events_sent_total{topic="t",method="now"} 0+60x30',
        'django_events_sent_total{topic="t",method="relay"} 9+0x30',
    ],
    "DjangoEventsSetAside": ['django_events_outbox_set_aside_rows{database="default",topic="t"} 1+0x30'],
    "DjangoEventsErrors": ['django_events_errors_total{category="topic"} 0+1x30'],
    "DjangoEventsGroupLate": ['django_events_consumer_oldest_unhandled_seconds{group="h",topic="t"} 301+0x30'],
    "DjangoEventsGroupLags": ['django_events_consumer_lag_events{instance="j",group="g",topic="t"} 9800+0x30'],
    "DjangoEventsMissed": ['django_events_consumer_missed_events_total{group="g",topic="u"} _x20 5+0x10'],
    "DjangoEventsGroupWithoutPartitions": ['django_events_consumer_assigned_partitions{group="h"} 0+0x30'],
    "DjangoEventsKafkaNotPolled": ['django_events_consumer_last_poll_timestamp_seconds{group="h"} 0+0x30'],
    "DjangoEventsOffsetsStay": [
        A_PROCESS,
        HANDLED,
        'django_events_consumer_last_commit_timestamp_seconds{instance="i",group="g"} 0+0x30',
    ],
    "DjangoEventsRebalances": ['django_events_consumer_rebalances_total{group="h",change="lost"} 0+3x30'],
    "DjangoEventsHandlerStuck": ['django_events_handler_longest_running_seconds{group="h",handler="h"} 121+0x30'],
    "DjangoEventsHandlerFails": [
        'django_events_handler_outcomes_total{instance="i",group="g",handler="h",outcome="buried"} 0+20x30'
    ],
    "DjangoEventsDeadLettersForYou": ['django_events_dead_letters{group="g",handler="h",state="kept"} 1+0x30'],
    "DjangoEventsDeadLettersOld": ['django_events_dead_letters_oldest_seconds{group="h",handler="h"} 86401+0x30'],
    "DjangoEventsBroadcastLate": ['django_events_broadcast_latency_seconds{instance="j",handler="h"} 61+0x30'],
}
"""What each alert is about: beside AT_WORK, or alone where it tells that something is missing."""


def test_each_alert_fires_alone_for_what_it_is_about_and_none_while_all_is_well(tmp_path: Path) -> None:
    assert list(WRONG) == NAMES
    alone = {"DjangoEventsNoMetrics", "DjangoEventsNothingAcknowledged", "DjangoEventsOffsetsStay"}
    cases = [(AT_WORK, "")] + [(told if name in alone else AT_WORK + told, name) for name, told in WRONG.items()]
    tests = [
        {
            "interval": "1m",
            "input_series": [dict(zip(("series", "values"), each.rsplit(" ", 1), strict=True)) for each in told],
            "promql_expr_test": [
                {
                    "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                    "eval_time": "25m",
                    "exp_samples": [{"labels": f'{{alertname="{name}"}}', "value": 1}] if name else [],
                }
            ],
        }
        for told, name in cases
    ]
    (tmp_path / "alerts.yml").write_text(ALERTS)
    whole = {"rule_files": ["alerts.yml"], "evaluation_interval": "1m", "tests": tests}
    (tmp_path / "tests.yml").write_text(json.dumps(whole))
    assert "SUCCESS" in promtool(tmp_path, "test", "rules", "tests.yml")


@contextmanager
def prometheus(folder: Path, targets: dict[str, str]) -> Iterator[Prometheus]:
    """One that looks at these, by the names of their jobs, and does not wait until an alert is old."""
    server = Prometheus(folder, re.sub(r"\n +for: \w+", "", ALERTS), targets)
    try:
        server.prepare()
        server.restart()
    except Unavailable as error:
        (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)(f"no Prometheus: {error}")
    try:
        yield server
    finally:
        server.stop()


@pytest.mark.kafka
@pytest.mark.postgres
def test_alerts_fire_while_the_broker_of_the_demo_is_down(
    fragile: Broker, transactional_db: None, kafka_server: KafkaServer, tmp_path: Path
) -> None:
    env = {
        "DATABASE_URL": "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**connection.settings_dict),
        "KAFKA_BOOTSTRAP_SERVERS": fragile.bootstrap_servers,
        "EVENTS_PREFIX": fragile.prefix,
    }
    targets: dict[str, str] = {}
    with running(tmp_path, **env) as demo:
        demo.says(r"until you press Ctrl-C:\norder ")
        for name in ("consume", "catchup"):
            at = demo.says(rf"manage\.py {name} runs as process \d+, with metrics at http://(\S+)/metrics\n")
            targets[f"django-events-{name}"] = at[1]
        with prometheus(tmp_path / "prometheus", targets) as server:

            def fires(name: str) -> list[dict[str, str]]:
                """The alerts of this name at this moment: a process that answers late for once has none in the next."""
                return server.firing().get(name, [])

            wait_for(lambda: server.well() == targets.keys())
            wait_for(lambda: not {"DjangoEventsOutboxOld", "DjangoEventsProcessDown"} & server.firing().keys())

            kafka_server.kill()
            wait_for(OutgoingEvent.objects.exists)  # of an order that is placed all the same
            OutgoingEvent.objects.update(saved_at=F("saved_at") - timedelta(hours=1))
            (old,) = wait_for(lambda: fires("DjangoEventsOutboxOld"))
            assert (old["topic"], old["database"], old["severity"]) == ("shop.order-placed", "default", "critical")
            wait_for(lambda: "kafka" in {each["category"] for each in fires("DjangoEventsErrors")})

            kafka_server.restart()
            wait_for(lambda: not fires("DjangoEventsOutboxOld"), timeout=300)
            os.kill(int(demo.says(r"manage\.py catchup runs as process (\d+)")[1]), signal.SIGKILL)
            wait_for(lambda: [each["job"] for each in fires("DjangoEventsProcessDown")] == ["django-events-catchup"])
    wait_for(demo.has_ended_everything)
