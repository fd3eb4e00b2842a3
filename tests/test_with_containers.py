"""The way of a site with Docker: what docs/testing-with-containers.md tells it to write, run as it stands there."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests import page
from tests.packages import ROOT
from tests.page import File


@pytest.fixture
def with_docker() -> None:
    """In a process of its own: where nobody answers, Docker's client leaves a socket open."""
    command = [sys.executable, "-c", "import docker; docker.from_env().ping()"]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        pytest.skip(f"no Docker: {done.stdout.strip().splitlines()[-1]}")


@pytest.mark.usefixtures("with_docker")
def test_the_tests_of_a_site_bring_their_own_kafka_and_postgresql(tmp_path: Path) -> None:
    for step in page.steps((ROOT / "docs" / "testing-with-containers.md").read_text()):
        assert isinstance(step, File)
        (tmp_path / step.path).write_text(step.text)
    env = os.environ | {
        "DATABASE_URL": "postgres://nobody@127.0.0.1:1/test",
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "DJANGO_SETTINGS_MODULE": "testproject.settings",
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--rootdir", str(tmp_path), str(tmp_path)]
    done = subprocess.run(command, cwd=tmp_path, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert "1 passed" in done.stdout, done.stdout
