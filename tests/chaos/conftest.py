"""Fixtures of the tests that run the chaotic site."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chaos.small_run import SmallRun, migrated_database
from tests.fixtures import PROTOCOLS


@pytest.fixture(scope="session")
def migrated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The name of a database with the chaotic site's tables."""
    with migrated_database(os.environ["DATABASE_URL"], tmp_path_factory.mktemp("migrated")) as name:
        yield name


@pytest.fixture
def run(request: pytest.FixtureRequest, migrated: str, tmp_path: Path) -> Iterator[SmallRun]:
    """Actors on the Kafka and PostgreSQL of the tests, with a database of their own. A parameter names the protocol."""
    options = PROTOCOLS[getattr(request, "param", "cooperative-sticky")]
    run = SmallRun(os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["DATABASE_URL"], migrated, tmp_path, options)
    yield run
    run.end()
