"""Billing writes exactly one invoice for each order."""

from django_events import ConsumerGroup, Event, OnFailure
from testproject.billing.models import Invoice
from testproject.shop.events import OrderPlaced, order_placed

billing = ConsumerGroup("billing")


class CannotBill(Exception):
    """No invoice can be written for this order, however often we try."""


@billing.exactly_once(order_placed, on_failure=OnFailure.SAVE, never_retry=CannotBill)
def make_invoice(event: Event[OrderPlaced]) -> None:
    order = event.payload
    if order.total <= 0:
        raise CannotBill(f"order {order.order_id} has a total of {order.total}")
    Invoice.objects.create(order_id=order.order_id, total=order.total)
