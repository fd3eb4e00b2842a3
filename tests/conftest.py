"""What pytest loads for all tests: which of them can run here, and a loud word about those that cannot."""

import os

import pytest

pytest_plugins = ["tests.fixtures"]

NEEDS = {
    "kafka": bool(os.environ.get("KAFKA_BOOTSTRAP_SERVERS")),
    "postgres": os.environ.get("DATABASE_URL", "").startswith("postgres"),
}
"""The markers, and whether what they need is there."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        for name, is_there in NEEDS.items():
            if not is_there and item.get_closest_marker(name):
                item.add_marker(pytest.mark.skip(reason=f"needs {name}"))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = len(terminalreporter.getreports("skipped"))
    missing = [name for name, is_there in NEEDS.items() if not is_there]
    if skipped and missing:
        terminalreporter.section("NOT EVERYTHING RAN", sep="!", red=True, bold=True)
        terminalreporter.line(f"{skipped} tests did not run, because there is no {' and no '.join(missing)}.")
        terminalreporter.line("Run ./dev test, which starts what is missing where it can.")
