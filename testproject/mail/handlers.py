"""The mail service notes confirmations; noting one again changes nothing."""

from django_events import ConsumerGroup, Event
from testproject.mail.models import Confirmation
from testproject.shop.events import OrderPlaced, order_placed

mail = ConsumerGroup("mail")


@mail.idempotent(order_placed)
def confirm_order(event: Event[OrderPlaced]) -> None:
    Confirmation.objects.get_or_create(order_id=event.payload.order_id, defaults={"customer": event.payload.customer})
