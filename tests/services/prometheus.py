"""Debian's Prometheus, with our rules, on the metrics of some processes."""

import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.services.installing import find
from tests.services.server import Server, free_ports


class Prometheus(Server):
    """Asks its targets every three seconds, which they have for the answer, and looks at the rules each second."""

    name = "Prometheus"

    def __init__(self, folder: Path, rules: str, targets: Mapping[str, str]) -> None:
        """``rules`` is the text of a file of rules; ``targets`` are the jobs' names and addresses."""
        super().__init__(folder)
        (self._port,) = free_ports(1)
        self._rules = rules
        self._targets = targets

    def prepare(self) -> None:
        self._program = program("prometheus")
        self.folder.mkdir(parents=True)
        jobs = [{"job_name": job, "static_configs": [{"targets": [at]}]} for job, at in self._targets.items()]
        interval = {"scrape_interval": "3s", "scrape_timeout": "3s", "evaluation_interval": "1s"}
        configuration = {"global": interval, "rule_files": ["rules.yml"], "scrape_configs": jobs}
        (self.folder / "prometheus.yml").write_text(json.dumps(configuration))  # which is YAML, too
        (self.folder / "rules.yml").write_text(self._rules)

    def command(self) -> list[str]:
        return [
            self._program,
            "--config.file=prometheus.yml",
            "--storage.tsdb.path=data",
            f"--web.listen-address=127.0.0.1:{self._port}",
        ]

    def is_ready(self) -> bool:
        try:
            self._get("/-/ready")
        except (urllib.error.URLError, ConnectionError):
            return False
        return True

    def well(self) -> set[str]:
        """The jobs whose targets answer."""
        found = json.loads(self._get("/api/v1/targets"))["data"]["activeTargets"]
        return {each["labels"]["job"] for each in found if each["health"] == "up"}

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """The alerts that fire, with the labels of each."""
        found: dict[str, list[dict[str, str]]] = {}
        for alert in json.loads(self._get("/api/v1/alerts"))["data"]["alerts"]:
            if alert["state"] == "firing":
                found.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return found

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{self._port}{path}", timeout=60) as answer:
            return answer.read()


def program(name: str) -> str:
    """The path of ``prometheus`` or ``promtool``. Raises Unavailable."""
    return find(name, "prometheus", "--no-install-recommends")
