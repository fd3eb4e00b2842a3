"""``manage.py demo``: shows the events of a small shop on their way, on parts that it brings along."""

import os
import signal
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from testproject.demo import website
from testproject.demo.embedded import environment
from testproject.demo.processes import Processes, ProcessFailed

INTERRUPTED = 130
"""The exit status after Ctrl-C, as shells have it."""


class Command(BaseCommand):
    help = (
        "Places orders and shows the way of their events; one becomes a dead letter and is repaired. Without --once it "
        "goes on, and has a web site with the admin. Uses the Kafka in KAFKA_BOOTSTRAP_SERVERS and the database in "
        "DATABASE_URL if they are set, else a Kafka inside of this process and SQLite in a temporary folder."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--once", action="store_true", help="end by itself; exit 0 only if all went well")

    def handle(self, *args: Any, **options: Any) -> None:
        # A signal to end ends the processes, too; Ctrl-C is an exception anyway.
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        with tempfile.TemporaryDirectory(prefix="demo-", ignore_cleanup_errors=True) as name:
            try:
                code = self._run(Path(name), once=options["once"])
            except KeyboardInterrupt:
                code = INTERRUPTED
            except ProcessFailed as failure:
                raise CommandError(str(failure)) from failure
        if code == INTERRUPTED:
            raise CommandError("Interrupted.", returncode=code)
        if code:
            raise CommandError("The demo failed, see above.")

    def _run(self, folder: Path, *, once: bool) -> int:
        with environment(folder) as given:
            env = {"EVENTS_LOG_LEVEL": "WARNING", **os.environ, **given}
            self._say(f"Kafka at {env['KAFKA_BOOTSTRAP_SERVERS']}")
            with Processes(env, folder) as processes:
                self._start(processes, with_metrics=not once and bool(find_spec("prometheus_client")))
                code = self._tell_story(processes, [] if once else self._open_website(processes))
            if code not in (0, INTERRUPTED):
                self.stderr.write(processes.outputs())
            return code

    def _start(self, processes: Processes, *, with_metrics: bool) -> None:
        if processes.in_front("migrate", "--verbosity=0").wait():
            raise ProcessFailed("The database could not be migrated, see above.")
        for command in ("consume", "catchup"):
            arguments, told = _metrics_port() if with_metrics else ([], "")
            self._say(f"manage.py {command} runs as process {processes.start(command, *arguments)}{told}")
        processes.wait_until(lambda: "got shop.order-placed" in processes.output("consume"), "consume")

    def _open_website(self, processes: Processes) -> list[str]:
        """Start the site; the arguments that tell the story of it."""
        port = website.free_port()
        number = processes.start("runserver", "--noreload", "--insecure", f"{website.HOST}:{port}")
        self._say(f"manage.py runserver runs as process {number}")
        processes.wait_until(lambda: website.answers(port), "runserver")
        return ["--port", str(port)]

    def _tell_story(self, processes: Processes, arguments: list[str]) -> int:
        """The story is a process of its own, because its settings depend on what was started here."""
        story = processes.in_front("demo_story", *arguments)
        # Ctrl-C reaches the story, which ends in good order.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, lambda number, _frame: story.send_signal(signal.SIGINT))
        return story.wait()

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()


def _metrics_port() -> tuple[list[str], str]:
    """The arguments for a port with metrics, and where that is."""
    port = website.free_port()
    return [f"--metrics-port={port}"], f", with metrics at http://{website.HOST}:{port}/metrics"
