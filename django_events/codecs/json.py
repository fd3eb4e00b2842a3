"""JSON through msgspec, for dataclasses, TypedDicts, attrs classes, msgspec.Structs and dicts."""

from typing import Any, Generic, TypeVar

import msgspec
from django.utils.functional import Promise

from django_events.codecs.names import name_of
from django_events.exceptions import DeclarationError, DecodeError

Payload = TypeVar("Payload")


class JSONCodec(Generic[Payload]):
    """JSON for one payload type. Thread-safe."""

    content_type = "application/json"

    def __init__(self, payload_type: type[Payload]) -> None:
        """Raises DeclarationError for a type that msgspec cannot read from JSON."""
        self._type = payload_type
        try:
            self._decoder = msgspec.json.Decoder(payload_type)
        except (TypeError, NameError) as error:  # NameError: an annotation that names what does not exist
            raise DeclarationError(
                f"The payload type {name_of(payload_type)} cannot be read from JSON: {error}. "
                "Change the annotation of that field."
            ) from error

    def encode(self, payload: Payload) -> bytes:
        return _encoder.encode(payload)

    def decode(self, data: bytes) -> Payload:
        """The payload in these bytes. Raises DecodeError saying where they do not fit the type."""
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"The body is not JSON of {name_of(self._type)}: {error}") from error


def _plain_text(value: Any) -> Any:
    """What msgspec does not know: texts of a subclass (such as SafeString) become plain texts."""
    if isinstance(value, str):
        return str.__str__(value)  # str() would hand a SafeString back as it is
    if isinstance(value, Promise):
        raise TypeError("a lazy text has no value yet; send str(text)")
    raise TypeError(f"a value of type {type(value).__qualname__} has no form in JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain_text)
