"""Billing writes exactly one invoice for each order."""

from django_events import ConsumerGroup, Event
from testproject.billing.models import Invoice
from testproject.shop.events import OrderPlaced, order_placed

billing = ConsumerGroup("billing")


@billing.exactly_once(order_placed)
def make_invoice(event: Event[OrderPlaced]) -> None:
    Invoice.objects.create(order_id=event.payload.order_id, total=event.payload.total)
