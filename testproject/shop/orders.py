"""Placing orders: the order and its event are saved together, or neither is."""

from decimal import Decimal

from django.db import transaction

from testproject.shop.events import OrderPlaced, order_placed
from testproject.shop.models import Order


def place(customer: str, total: Decimal) -> Order:
    """Save an order and tell the other services."""
    with transaction.atomic():
        order = Order.objects.create(customer=customer, total=total)
        order_placed.send(OrderPlaced(order.pk, order.customer, order.total), key=str(order.pk))
    return order
