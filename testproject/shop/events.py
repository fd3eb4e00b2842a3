"""What the shop tells other services."""

from dataclasses import dataclass
from decimal import Decimal

from django_events import Topic


@dataclass(frozen=True)
class OrderPlaced:
    """A customer has placed an order."""

    order_id: int
    customer: str
    total: Decimal


order_placed = Topic("shop.order-placed", OrderPlaced)
