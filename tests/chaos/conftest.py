"""Fixtures of the tests that run the chaotic site."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.small_run import SmallRun


@pytest.fixture
def run(tmp_path: Path) -> Iterator[SmallRun]:
    """Actors on the Kafka and PostgreSQL of the tests, with a database of their own."""
    run = SmallRun(os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["DATABASE_URL"], tmp_path)
    yield run
    run.end()
