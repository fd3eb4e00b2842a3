"""The mail service notes confirmations; noting one again changes nothing."""

from django_events import ConsumerGroup, Event, OnFailure
from testproject.mail.models import Confirmation
from testproject.shop.events import OrderPlaced, order_placed

mail = ConsumerGroup("mail")


class NoAddress(Exception):
    """There is nobody to write to, as yet."""


@mail.idempotent(order_placed, on_failure=OnFailure.RETRY_LATER, retry=2)
def confirm_order(event: Event[OrderPlaced]) -> None:
    order = event.payload
    if not order.customer:
        raise NoAddress(f"order {order.order_id} has no customer to write to")
    Confirmation.objects.get_or_create(order_id=order.order_id, defaults={"customer": order.customer})
