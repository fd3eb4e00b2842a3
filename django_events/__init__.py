"""The event bus for Django: transactional outbox, Kafka, and handlers that take effect exactly once.

Importing this loads neither models nor librdkafka, so declarations can be imported from anywhere. ``Service``, which
needs both, is loaded when it is first asked for.
"""

from typing import TYPE_CHECKING, Any

from django_events.broadcasting import broadcast
from django_events.calling import Batch
from django_events.codecs.codec import Codec
from django_events.codecs.xml import XMLCodec
from django_events.events import Event
from django_events.exceptions import (
    BatchItemError,
    CalledInAsync,
    DeclarationError,
    DecodeError,
    DeliveryFailed,
    DoNotRetry,
    EncodingError,
    EventsError,
    EventTooLarge,
    IgnoreError,
    InvalidEvent,
    SendError,
    ServiceError,
    SettingsError,
    SubscriptionLost,
    SubscriptionOverflow,
    TransactionRequired,
)
from django_events.failures import OnFailure
from django_events.following.gap import Gap
from django_events.following.subscription import Subscription, WhenFull
from django_events.handlers import ConsumerGroup
from django_events.retry import Backoff
from django_events.topics import Topic
from django_events.web import broadcast_is_live, broadcast_latency, start_broadcast

if TYPE_CHECKING:
    from django_events.consuming.service import Service

__version__ = "0.9.0"

__all__ = [
    "Backoff",
    "Batch",
    "BatchItemError",
    "CalledInAsync",
    "Codec",
    "ConsumerGroup",
    "DeclarationError",
    "DecodeError",
    "DeliveryFailed",
    "DoNotRetry",
    "EncodingError",
    "Event",
    "EventTooLarge",
    "EventsError",
    "Gap",
    "IgnoreError",
    "InvalidEvent",
    "OnFailure",
    "SendError",
    "Service",
    "ServiceError",
    "SettingsError",
    "Subscription",
    "SubscriptionLost",
    "SubscriptionOverflow",
    "Topic",
    "TransactionRequired",
    "WhenFull",
    "XMLCodec",
    "broadcast",
    "broadcast_is_live",
    "broadcast_latency",
    "start_broadcast",
]


def __getattr__(name: str) -> Any:
    if name == "Service":
        from django_events.consuming.service import Service

        return Service
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
