"""Every exception that users and operators of django_events meet, and how it says what it has to say. Nothing else.

The tree says who must act::

    EventsError
    ├── DeclarationError            the developer must change a declaration
    │   └── SettingsError           the developer must change settings.DJANGO_EVENTS
    ├── SendError                   the caller must change the call; nothing was saved
    │   ├── EncodingError           the payload does not fit the topic's type
    │   ├── InvalidEvent            a key, header or attribute cannot be carried
    │   ├── EventTooLarge           the event is above the topic's limit
    │   ├── TransactionRequired     send() was called outside of a transaction
    │   └── CalledInAsync           send() was called where asend() must be awaited
    ├── DeliveryFailed              Kafka has not taken it: the caller may send it again
    ├── SubscriptionOverflow        a subscriber is too slow for its queue, and asked to be told
    ├── SubscriptionLost            a process that was forked must open subscriptions of its own
    ├── DoNotRetry                  raised by handlers: trying again would not help
    ├── IgnoreError                 raised by handlers: the event is to be passed over
    ├── BatchItemError              raised by batch handlers: which event is at fault
    ├── DecodeError                 a record cannot be read; whoever wrote it must act
    ├── HandlerTransactionBroken    the handler ended the transaction that it runs in
    ├── KafkaRefused                the operator must change what Kafka gives as its reason
    ├── ServiceError                whoever runs a Service must do what it says
    ├── BrokerUnavailable           nobody: it is tried again until Kafka answers
    └── ConsumerFailed              the operator must restart consume after mending the cause
"""

from collections.abc import Callable

from django.core.exceptions import ImproperlyConfigured, SynchronousOnlyOperation


class EventsError(Exception):
    """The base of all exceptions of this package."""


class DeclarationError(EventsError, ImproperlyConfigured):
    """A topic, group or handler is declared in a way that cannot work."""


class SettingsError(DeclarationError):
    """A value in settings.DJANGO_EVENTS is wrong, or would lose or reorder events."""


class SendError(EventsError):
    """An event was refused at the call. Nothing of it was saved or sent."""


class EncodingError(SendError, ValueError):
    """The payload cannot be encoded so that a reader gets back what was sent."""


class InvalidEvent(SendError, ValueError):
    """A key, a header or an attribute of the event cannot be carried."""


class EventTooLarge(SendError, ValueError):
    """Key, body and headers together are above the limit declared for the topic."""


class TransactionRequired(SendError, RuntimeError):
    """``send()`` was called outside of ``transaction.atomic()``."""


class CalledInAsync(SendError, SynchronousOnlyOperation):
    """A call that blocks was made in an event loop. Await its async form."""


class DeliveryFailed(EventsError):
    """``send_now()`` has no acknowledgement from Kafka; the text says why, and whether the events may have arrived.

    Send the same events again (with ``send_many_now``: their ids tell readers that they are duplicates), or give up.
    """


class SubscriptionOverflow(EventsError):
    """A subscription with ``WhenFull.FAIL`` had no room for an event; what had come before is delivered."""


class SubscriptionLost(EventsError):
    """A subscription was opened before this process was forked, and only the parent goes on with it."""


class DoNotRetry(EventsError):
    """Raise it in a handler to say that trying again would not help: its ``on_failure`` follows at once.

    ``raise DoNotRetry("the customer is gone") from error`` keeps the reason.
    """


class IgnoreError(EventsError):
    """Raise it in a handler to pass over an event: what the handler did in its transaction is rolled back, a line is
    logged, and the event counts as handled."""


class BatchItemError(EventsError):
    """Raise it in a batch handler to say which event is at fault: the others are tried again without it, at once.

    ``raise BatchItemError(event, error)`` with one of the events that it was given; ``cause`` is what counts for it:
    its text, whether it is retried.
    """

    def __init__(self, event: object, cause: BaseException) -> None:
        super().__init__(f"{_shown(event, repr)[:200]}: {_shown(cause, str)}")
        self.event = event
        self.cause = cause


def _shown(given: object, text_of: Callable[[object], str]) -> str:
    """What it says of itself; its type where the user's own code for that raises."""
    try:
        return text_of(given)
    except Exception:
        return f"<{type(given).__name__} that cannot be shown>"


class DecodeError(EventsError, ValueError):
    """A record from Kafka cannot be read as an event of the handler's topic."""


class HandlerTransactionBroken(EventsError):
    """An exactly-once handler returned, but its transaction can no longer be committed."""


class KafkaRefused(EventsError):
    """Kafka has answered that it will not do what an operator asked for."""


class ServiceError(EventsError, RuntimeError):
    """A Service has not got its partitions in time, has not ended in time, or is used in a wrong order."""


class BrokerUnavailable(EventsError):
    """Kafka did not answer in time."""


class ConsumerFailed(EventsError):
    """A consumer can never go on: its process ends, and offsets stay where they are."""
