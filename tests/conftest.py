"""What pytest loads for all tests: which of them can run here, and a loud word about those that cannot."""

import os
from collections import Counter

import pytest

pytest_plugins = ["tests.fixtures", "tests.counting"]

NEEDS = {
    "kafka": bool(os.environ.get("KAFKA_BOOTSTRAP_SERVERS")),
    "postgres": os.environ.get("DATABASE_URL", "").startswith("postgres"),
}
"""The markers, and whether what they need is there."""


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--all", action="store_true", help="the long tests, too")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if not config.getoption("--all"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("long")])
        items[:] = [item for item in items if not item.get_closest_marker("long")]
    for item in items:
        for name, is_there in NEEDS.items():
            if not is_there and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = Counter(str(report.longrepr[-1]) for report in terminalreporter.getreports("skipped"))
    if reasons:
        terminalreporter.section("NOT EVERYTHING RAN", sep="!", red=True, bold=True)
        for reason, count in sorted(reasons.items()):
            terminalreporter.line(f"{count} tests did not run. {reason}")
        terminalreporter.line("Run ./dev test, which starts what is missing where it can.")
