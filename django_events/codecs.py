"""How payloads become bytes and back: JSON through msgspec, made to refuse what would not come back as it was."""

import dataclasses
from typing import Any, Generic, TypeVar, get_origin, is_typeddict

import msgspec
from django.utils.functional import Promise

from django_events import redaction
from django_events.exceptions import DeclarationError, DecodeError, EncodingError

Payload = TypeVar("Payload")


class JSONCodec(Generic[Payload]):
    """JSON for one payload type: a dataclass, TypedDict, msgspec.Struct or dict. Thread-safe."""

    content_type = "application/json"

    def __init__(self, payload_type: type[Payload]) -> None:
        """Raises DeclarationError if values of the type cannot be compared with what a reader gets."""
        _check_type(payload_type)
        self._type = payload_type
        try:
            self._decoder = msgspec.json.Decoder(payload_type)
        except (TypeError, NameError) as error:  # NameError: an annotation that names what does not exist
            raise DeclarationError(
                f"The payload type {_name(payload_type)} cannot be read from JSON: {error}. "
                "Change the annotation of that field."
            ) from error

    def encode(self, payload: Payload) -> tuple[bytes, Payload]:
        """The payload as bytes, and the payload that a reader of these bytes gets.

        Raises EncodingError unless the two payloads are equal: NaN, a field of the wrong type, a Decimal in a
        plain dict and their like would otherwise arrive as something else.
        """
        try:
            data = _encoder.encode(payload)
            read = self._decoder.decode(data)
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError) as error:
            raise EncodingError(f"A payload of {_name(self._type)} cannot be sent: {error}.") from error
        if read != payload:
            raise EncodingError(
                f"A payload of {_name(self._type)} would not be read as it was sent: "
                f"{_difference(payload, read, 'payload')}. Give the field a value of its declared type."
            )
        return data, read

    def decode(self, data: bytes | None) -> Payload:
        """The payload in these bytes. Raises DecodeError saying where they do not fit the type."""
        if data is None:
            raise DecodeError(f"The record has no body; expected JSON of {_name(self._type)}.")
        try:
            return self._decoder.decode(data)
        except (msgspec.MsgspecError, ValueError, RecursionError) as error:
            raise DecodeError(f"The body is not JSON of {_name(self._type)}: {error}") from error


def _check_type(payload_type: Any) -> None:
    plain = get_origin(payload_type) or payload_type
    if plain is dict or is_typeddict(plain):
        return
    is_struct = isinstance(plain, type) and issubclass(plain, msgspec.Struct)
    if not is_struct and not (isinstance(plain, type) and dataclasses.is_dataclass(plain)):
        raise DeclarationError(
            f"The payload type {_name(payload_type)} is not supported. "
            "Use a dataclass, a TypedDict, a msgspec.Struct or dict."
        )
    if plain.__eq__ is object.__eq__ or (is_struct and not plain.__struct_config__.eq):
        raise DeclarationError(
            f"The payload type {_name(payload_type)} is declared with eq=False, so it cannot be checked that a "
            "payload arrives as it was sent. Remove eq=False."
        )
    unseen = [] if is_struct else [field.name for field in dataclasses.fields(plain) if not field.compare]
    if unseen:
        raise DeclarationError(
            f"The payload type {_name(payload_type)} leaves {', '.join(unseen)} out of comparisons, so it cannot be "
            "checked that a payload arrives as it was sent. Remove compare=False."
        )


def _plain_text(value: Any) -> Any:
    """What msgspec does not know: texts of a subclass (such as SafeString) become plain texts."""
    if isinstance(value, str):
        return str.__str__(value)  # str() would hand a SafeString back as it is
    if isinstance(value, Promise):
        raise TypeError("a lazy text has no value yet; send str(text)")
    raise TypeError(f"a value of type {type(value).__qualname__} has no form in JSON")


_encoder = msgspec.json.Encoder(enc_hook=_plain_text)


def _difference(sent: Any, read: Any, where: str) -> str:
    """The first place at which the two differ, as a sentence for people."""
    if type(sent) is type(read):
        for name, part in _parts(sent):
            other = dict(_parts(read)).get(name)
            if part != other:
                return _difference(part, other, f"{where}.{name}")
    if redaction.hides(tuple(part for part in where.split(".")[1:] if not part.isdigit())):
        return f"{where} would be read as something else (REDACT hides the values)"
    return f"{where} is {sent!r:.80} and would be read as {read!r:.80}"


def _parts(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, dict):
        return list(value.items())
    if isinstance(value, (list, tuple)):
        return list(enumerate(value))
    if isinstance(value, msgspec.Struct):
        return [(name, getattr(value, name)) for name in value.__struct_fields__]
    if dataclasses.is_dataclass(value):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []


def _name(payload_type: Any) -> str:
    return getattr(payload_type, "__qualname__", None) or repr(payload_type)
