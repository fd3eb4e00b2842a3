"""The fixture ``counting``: what a part of a test costs the database."""

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from types import SimpleNamespace

import pytest
from django.db import connection, connections

from benchmarks.counters import can_count_statements, counts, wait_for_others
from benchmarks.place import OURS
from tests.services import REQUIRED

Counting = Callable[[], AbstractContextManager[SimpleNamespace]]

PATIENCE = 120.0
"""Seconds that others, such as threads of an earlier test that are about to end, have to close their connections."""


@pytest.fixture
def counting(transactional_db: None) -> Counting:
    """``with counting() as found: …``; afterwards ``found.counts`` has what the test's database was asked and did."""
    import psycopg

    settings = connection.settings_dict
    address = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**settings)

    @contextmanager
    def count() -> Iterator[SimpleNamespace]:
        with psycopg.connect(address, autocommit=True, application_name=OURS) as observer:
            if not can_count_statements(observer):
                (pytest.fail if os.environ.get(REQUIRED) else pytest.skip)("PostgreSQL has no pg_stat_statements")
            connections.close_all()
            wait_for_others(observer, PATIENCE)
            before, found = counts(observer), SimpleNamespace()
            yield found
            connections.close_all()  # only then has PostgreSQL been told of everything
            wait_for_others(observer, PATIENCE)
            found.counts = counts(observer).since(before)

    return count
