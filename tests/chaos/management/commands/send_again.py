"""``manage.py send_again``: what an operator does with events that were set aside, once Kafka takes them."""

from typing import Any

from django.core.management.base import BaseCommand

from django_events.models import OutgoingEvent
from tests.chaos.settling import SENT_AGAIN


class Command(BaseCommand):
    help = "Has all events that were set aside sent again, and says which."

    def handle(self, *args: Any, **options: Any) -> None:
        rows = dict(OutgoingEvent.objects.filter(lane=None).values_list("pk", "event_id"))
        for number in OutgoingEvent.objects.send_again(list(rows), "default"):
            self.stdout.write(f"{SENT_AGAIN}{rows[number]}")
