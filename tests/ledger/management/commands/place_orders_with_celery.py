"""``manage.py place_orders_with_celery CUSTOMER …``: asks a Celery worker for an order of each."""

from typing import Any

from django.core.management.base import BaseCommand, CommandParser


class Command(BaseCommand):
    help = "Asks a Celery worker to place orders."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("customers", nargs="+")

    def handle(self, *args: Any, **options: Any) -> None:
        from tests.celery_app import place

        for customer in options["customers"]:
            place.delay(customer)
