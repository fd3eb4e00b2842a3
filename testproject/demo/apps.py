"""The demo listens to the signals of django_events in each process of the site."""

from django.apps import AppConfig
from django.conf import settings


class DemoConfig(AppConfig):
    """Writes each event's facts into a journal, if the demo runs."""

    name = "testproject.demo"

    def ready(self) -> None:
        if settings.DEMO_JOURNAL:
            from testproject.demo.journal import keep_journal

            keep_journal()
