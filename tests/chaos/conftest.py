"""Fixtures of the tests that run the chaotic site."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.small_run import SmallRun
from tests.fixtures import PROTOCOLS


@pytest.fixture
def run(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SmallRun]:
    """Actors on the Kafka and PostgreSQL of the tests, with a database of their own. A parameter names the protocol."""
    options = PROTOCOLS[getattr(request, "param", "cooperative-sticky")]
    run = SmallRun(os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["DATABASE_URL"], tmp_path, options)
    yield run
    run.end()
