"""``manage.py consume``: runs the handlers of some or all consumer groups until it is told to stop."""

import os
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from django_events import registry
from django_events.conf import settings
from django_events.consuming.service import Service
from django_events.exceptions import EventsError
from django_events.kafka import config
from django_events.management import arguments
from django_events.management.signals import stop_on_signals
from django_events.stopping import Stop


class Command(BaseCommand):
    help = "Runs the handlers of the consumer groups (all of them, or those named) until SIGTERM or SIGINT."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("groups", nargs="*", metavar="GROUP", help="a consumer group; default: all")
        parser.add_argument(
            "--shutdown-timeout",
            type=arguments.seconds,
            default=30.0,
            metavar="SECONDS",
            help="how long running handlers may take to finish after the signal to stop (default: 30)",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            self._consume(options["groups"], options["shutdown_timeout"])
        except EventsError as error:
            raise CommandError(str(error)) from error

    def _consume(self, names: list[str], shutdown_timeout: float) -> None:
        groups = registry.groups(names)
        if not groups:
            raise CommandError(
                "No handlers are declared. Declare a ConsumerGroup and its handlers in handlers.py of an installed app."
            )
        self.stdout.write(
            f"Consuming from {config.brokers()}" + (f", prefix {settings.PREFIX!r}" * bool(settings.PREFIX))
        )
        for group in groups:
            for handler in group.handlers:
                topics = ", ".join(topic.name for topic in handler.topics)
                policy = handler.policy.on_failure.value
                self.stdout.write(f"  {handler}  {topics}  ({handler.delivery.value}; on failure {policy})")
        stop = Stop()
        service = Service(groups, on_change=self._say)
        with stop_on_signals(stop):
            service.start()
            try:
                while not stop.is_set() and not service.wait(timeout=0.2):
                    pass
            finally:
                self._stop(service, shutdown_timeout)

    def _stop(self, service: Service, shutdown_timeout: float) -> None:
        self._say("Stopping: finishing what runs")
        if not service.stop(shutdown_timeout):
            self.stderr.write("A handler or Kafka did not end in time; what they had not finished comes again.")
            self.stderr.flush()
            os._exit(1)  # a handler that never returns must not keep the process, and its partitions, alive
        self._say("Stopped")

    def _say(self, line: str) -> None:
        self.stdout.write(line)
        self.stdout.flush()
