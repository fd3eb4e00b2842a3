"""``manage.py send_again``: what an operator does with events that were set aside, once Kafka takes them."""

from typing import Any

from django.core.management.base import BaseCommand

from django_events.models import OutgoingEvent


class Command(BaseCommand):
    help = "Has all events that were set aside sent again."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = OutgoingEvent.objects.filter(lane=None)
        OutgoingEvent.objects.send_again(list(rows.values_list("pk", flat=True)), "default")
