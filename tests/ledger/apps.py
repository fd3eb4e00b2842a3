import os

from django.apps import AppConfig


class LedgerConfig(AppConfig):
    name = "tests.ledger"

    def ready(self) -> None:
        from django_events.presence import presence  # needs models

        presence.FAREWELL = float(os.environ.get("FAREWELL", presence.FAREWELL))  # tests have more patience than people
