"""The Django app: finds declarations and registers checks. Starts no thread and no client."""

from django.apps import AppConfig


class DjangoEventsConfig(AppConfig):
    """``django_events`` in INSTALLED_APPS."""

    name = "django_events"
    verbose_name = "Events"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        from django_events import __version__, checks, handlers, registry, web
        from django_events.presence.presence import presence

        checks.register_checks()
        web.start_at_requests()
        registry.discover()
        presence.version = __version__
        presence.declared = registry.digests(handlers.declared())
