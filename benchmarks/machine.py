"""Where figures come from: the machine, the servers and their disks, versions, and the date."""

import os
import platform
import re
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import confluent_kafka
import psycopg
from confluent_kafka.admin import AdminClient, ConfigResource, ResourceType

from benchmarks.counters import listening_on, open_files

PACKAGES = ("django", "psycopg", "confluent-kafka", "msgspec")
IN_MEMORY = ("tmpfs", "ramfs")
"""File systems that are no disk: who waits for them waits for nothing."""

KAFKAS_JAR = re.compile(r"/kafka_[\d.]+-([^/]+)\.jar$")
UNKNOWN = "unknown"


def about_this_run(*, quick: bool) -> dict[str, Any]:
    """Machine, versions of what runs in our processes, and date."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processors": os.cpu_count(),
        "processor": _model(Path("/proc/cpuinfo").read_text()),
        "memory": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "machine": platform.platform(),
        "load": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {name: version(name) for name in PACKAGES} | {"librdkafka": confluent_kafka.libversion()[0]},
        "quick": quick,
    }


def about_servers(database: str, bootstrap_servers: str) -> dict[str, dict[str, str]]:
    """Version of each server, and what its data lie on."""
    with psycopg.connect(database) as connection:
        postgres, folder = (_setting(connection, name) for name in ("server_version", "data_directory"))
    return {
        "PostgreSQL": {"version": postgres.split()[0], "disk": _disk(folder)},
        "Kafka": {"version": _version_of_kafka(bootstrap_servers), "disk": _disk(_folder_of_kafka(bootstrap_servers))},
    }


def _setting(connection: "psycopg.Connection[tuple[Any, ...]]", name: str) -> str:
    """One of PostgreSQL's; not everybody may see all of them."""
    row = connection.execute("SELECT setting FROM pg_settings WHERE name = %s", [name]).fetchone()
    return str(row[0]) if row else UNKNOWN


def _version_of_kafka(bootstrap_servers: str) -> str:
    """Kafka does not tell it; but its process has a file open that is named after it."""
    pid = listening_on(urlsplit(f"//{bootstrap_servers}").port or 9092)
    found = [KAFKAS_JAR.search(file) for file in (open_files(pid) if pid else ())]
    return next((match[1] for match in found if match), UNKNOWN)


def _folder_of_kafka(bootstrap_servers: str) -> str:
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    node = next(iter(admin.list_topics(timeout=60).brokers))
    (answer,) = admin.describe_configs([ConfigResource(ResourceType.BROKER, str(node))]).values()
    return str(answer.result()["log.dirs"].value).split(",")[0]


def _disk(folder: str) -> str:
    """``disk`` of a server's folder; it may be on another machine."""
    return disk(Path(folder), Path("/proc/mounts").read_text()) if Path(folder).exists() else UNKNOWN


def disk(folder: Path, mounts: str) -> str:
    """The kind of file system that the folder is on, and where it is mounted; ``mounts`` is /proc/mounts."""
    found = [line.split()[1:3] for line in mounts.splitlines()]
    around = [(point, kind) for point, kind in found if folder.is_relative_to(point)]
    point, kind = max(reversed(around), key=lambda each: len(each[0]))  # the last one at a place is the one there
    return f"{kind} at {point}" + (", which is memory" if kind in IN_MEMORY else "")


def _model(cpuinfo: str) -> str:
    found = re.search(r"^model name\s*: (.+)$", cpuinfo, re.MULTILINE)
    return found[1] if found else platform.machine()
