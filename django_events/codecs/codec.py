"""What a codec is, and how it is called: so that what would not arrive as it was sent is refused, whoever wrote it."""

import re
from typing import Any, Protocol, TypeVar

from django_events.codecs.difference import first_difference
from django_events.exceptions import DeclarationError, DecodeError, EncodingError

Payload = TypeVar("Payload")

_MEDIA_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]+/[A-Za-z0-9!#$&^_.+-]+(\s*;[\x20-\x7e]*)?")
_OF_CLOUDEVENTS = "application/cloudevents"


class Codec(Protocol[Payload]):
    """How the payloads of a topic become bytes and back: ``Topic(…, codec=…)``. It must be thread-safe.

    What it raises becomes an EncodingError at ``send`` and a DecodeError, which is not tried again, at a handler. Only
    an OSError stays one and is tried again, so that a codec may ask a registry of schemas.
    """

    @property
    def content_type(self) -> str:
        """The media type of the bytes, such as ``avro/binary``. Records of another one are not given to the codec;
        records without one are."""

    def encode(self, payload: Payload, /) -> bytes:
        """The payload as bytes. Those of another payload type are to be refused, with any exception."""

    def decode(self, data: bytes, /) -> Payload:
        """The payload in these bytes; for what ``encode`` has made, one that equals the payload it was made of."""


def check_codec(codec: Any, topic: str) -> None:
    """Raise DeclarationError unless the object can be a topic's codec."""
    content_type = getattr(codec, "content_type", None)
    if not isinstance(content_type, str) or not _MEDIA_TYPE.fullmatch(content_type):
        raise DeclarationError(
            f"The codec {codec!r:.80} of topic {topic!r} has content_type {content_type!r:.80}. "
            "Give it a media type such as 'avro/binary'."
        )
    if content_type.lower().startswith(_OF_CLOUDEVENTS):
        raise DeclarationError(
            f"The codec of topic {topic!r} has content_type {content_type!r}, which is kept for whole CloudEvents. "
            "Name the media type of the payload alone."
        )
    if isinstance(codec, type) or not all(callable(getattr(codec, name, None)) for name in ("encode", "decode")):
        raise DeclarationError(
            f"The codec of topic {topic!r} is {codec!r:.80}; give an object with content_type, encode and decode."
        )


def encode(codec: Codec[Payload], payload: Payload, type_name: str) -> tuple[bytes, Payload]:
    """The payload as bytes, and the payload that a reader of these bytes gets.

    Raises EncodingError unless the two payloads are equal: what differs would arrive as something else.
    """
    try:
        data = codec.encode(payload)
        if not isinstance(data, bytes):
            raise TypeError(f"its codec made {data!r:.40} of it, which are no bytes")
        read = codec.decode(data)
        is_same = bool(read == payload)
    except OSError:
        raise
    except Exception as error:
        raise EncodingError(f"A payload of {type_name} cannot be sent: {_reason(error)}.") from error
    if not is_same:
        raise EncodingError(
            f"A payload of {type_name} would not be read as it was sent: {first_difference(payload, read)}. "
            "Give the field a value of its declared type."
        )
    return data, read


def decode(codec: Codec[Payload], data: bytes) -> Payload:
    """The payload in these bytes. Raises DecodeError if the codec cannot read them."""
    try:
        return codec.decode(data)
    except (DecodeError, OSError):
        raise
    except Exception as error:
        raise DecodeError(f"The body cannot be read as {codec.content_type}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What went wrong, as a sentence: of our own codecs without the words that it was in a body."""
    if isinstance(error, DecodeError) and error.__cause__:
        error = error.__cause__
    return str(error) or type(error).__qualname__
