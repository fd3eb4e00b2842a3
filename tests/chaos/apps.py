"""The chaotic site: an app whose every step goes into a history."""

from django.apps import AppConfig
from django.conf import settings


class ChaosConfig(AppConfig):
    name = "tests.chaos"
    label = "chaos"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from tests.chaos import handlers, planted, witness  # noqa: F401

        witness.watch()  # first, so that it sees what a planted bug does
        if settings.CHAOS_PLANTED:
            planted.plant(settings.CHAOS_PLANTED)
