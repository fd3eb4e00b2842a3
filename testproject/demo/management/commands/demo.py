"""``manage.py demo``: shows the events of a small shop on their way, on parts that it brings along."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from testproject.demo.embedded import environment

PATIENCE = 30.0
"""Seconds that a process has to begin, and to end."""


class Command(BaseCommand):
    help = (
        "Places orders and shows the way of their events. Uses the Kafka in KAFKA_BOOTSTRAP_SERVERS and the database "
        "in DATABASE_URL if they are set, else a Kafka inside of this process and SQLite in a temporary folder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end by itself; exit 0 only if all went well")

    def handle(self, *args: Any, **options: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="demo-") as name, environment(Path(name)) as given:
            folder, env = Path(name), {"EVENTS_LOG_LEVEL": "WARNING", **os.environ, **given}
            self._say(f"Kafka at {env['KAFKA_BOOTSTRAP_SERVERS']}")
            subprocess.run(_manage("migrate", "--verbosity=0"), cwd=settings.BASE_DIR, env=env, check=True)
            with self._running("consume", env, folder) as consume, self._running("catchup", env, folder):
                self._wait_for("got shop.order-placed", consume)
                code = self._tell_story(["--once"] * options["once"], env)
            if code:
                self.stderr.write("".join(log.read_text() for log in sorted(folder.glob("*.log"))))
                raise CommandError("The demo failed, see above.", returncode=1)

    def _tell_story(self, arguments: list[str], env: dict[str, str]) -> int:
        """The story is a process of its own, because its settings depend on what was started here."""
        story = subprocess.Popen(_manage("demo_story", *arguments), cwd=settings.BASE_DIR, env=env)
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the story, which ends in good order
        signal.signal(signal.SIGTERM, lambda number, _frame: story.send_signal(signal.SIGINT))
        return story.wait()

    @contextmanager
    def _running(self, command: str, env: dict[str, str], folder: Path) -> Iterator[Path]:
        """A process of the site; yields the file with its output. A session of its own: Ctrl-C is for the story."""
        output = folder / f"{command}.log"
        with output.open("wb") as log:
            process = subprocess.Popen(
                _manage(command),
                cwd=settings.BASE_DIR,
                env=env,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._say(f"manage.py {command} runs as process {process.pid}")
        try:
            yield output
        finally:
            process.terminate()
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()

    def _wait_for(self, text: str, output: Path) -> None:
        deadline = time.monotonic() + PATIENCE
        while text not in output.read_text():
            if time.monotonic() > deadline:
                raise CommandError(f"{output.name} does not say {text!r}:\n{output.read_text()}")
            time.sleep(0.05)

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _manage(*arguments: str) -> list[str]:
    return [sys.executable, "manage.py", *arguments]
