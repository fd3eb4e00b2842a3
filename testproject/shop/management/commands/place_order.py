"""``manage.py place_order CUSTOMER TOTAL``"""

from decimal import Decimal
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from testproject.shop import orders


class Command(BaseCommand):
    help = "Places an order, as the shop's page does."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("customer")
        parser.add_argument("total", type=Decimal)

    def handle(self, *args: Any, **options: Any) -> None:
        order = orders.place(options["customer"], options["total"])
        self.stdout.write(f"Placed {order}")
