"""The event bus for Django: transactional outbox, Kafka, and handlers that take effect exactly once.

Importing this loads neither models nor librdkafka, so declarations can be imported from anywhere.
"""

from django_events.events import Event
from django_events.exceptions import (
    DeclarationError,
    DecodeError,
    EncodingError,
    EventsError,
    EventTooLarge,
    InvalidEvent,
    SendError,
    SettingsError,
    TransactionRequired,
)
from django_events.handlers import ConsumerGroup
from django_events.topics import Topic

__version__ = "0.1.0.dev0"

__all__ = [
    "ConsumerGroup",
    "DeclarationError",
    "DecodeError",
    "EncodingError",
    "Event",
    "EventTooLarge",
    "EventsError",
    "InvalidEvent",
    "SendError",
    "SettingsError",
    "Topic",
    "TransactionRequired",
]
