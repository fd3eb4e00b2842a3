"""Which payload types are supported, and the codec of each."""

import dataclasses
from typing import Any, TypeVar, get_origin, is_typeddict

import msgspec

from django_events.codecs.codec import Codec
from django_events.codecs.json import JSONCodec
from django_events.codecs.names import name_of
from django_events.codecs.pydantic_json import PydanticCodec
from django_events.exceptions import DeclarationError

Payload = TypeVar("Payload")


def codec_for(payload_type: type[Payload]) -> Codec[Payload]:
    """The codec of topics that name none.

    Raises DeclarationError if values of the type cannot be compared with what a reader gets, or cannot be read.
    """
    plain: Any = get_origin(payload_type) or payload_type
    if plain is not dict and not is_typeddict(plain):
        _check_class(payload_type, plain)
    return PydanticCodec(payload_type) if _is_pydantic(plain) else JSONCodec(payload_type)


def _check_class(payload_type: Any, plain: Any) -> None:
    if not isinstance(plain, type) or not _is_supported(plain):
        raise DeclarationError(
            f"The payload type {name_of(payload_type)} is not supported. Use a dataclass, a TypedDict, an attrs class, "
            "a msgspec.Struct, a pydantic model or dict; or give the topic a codec=."
        )
    if not _compares_values(plain):
        raise DeclarationError(
            f"The payload type {name_of(payload_type)} is declared with eq=False, so it cannot be checked that a "
            "payload arrives as it was sent. Remove eq=False."
        )
    if unseen := _left_out_of_comparisons(plain):
        raise DeclarationError(
            f"The payload type {name_of(payload_type)} leaves {', '.join(unseen)} out of comparisons, so it cannot be "
            "checked that a payload arrives as it was sent. Remove compare=False (in attrs, eq=)."
        )


def _is_supported(plain: type) -> bool:
    return (
        issubclass(plain, msgspec.Struct) or dataclasses.is_dataclass(plain) or _is_attrs(plain) or _is_pydantic(plain)
    )


def _is_attrs(plain: type) -> bool:
    return hasattr(plain, "__attrs_attrs__")


def _is_pydantic(plain: type) -> bool:
    """Whether pydantic (2) made it: a model, or a dataclass of its own."""
    return hasattr(plain, "__pydantic_core_schema__")


def _compares_values(plain: Any) -> bool:
    if issubclass(plain, msgspec.Struct) and not plain.__struct_config__.eq:
        return False
    return plain.__eq__ is not object.__eq__


def _left_out_of_comparisons(plain: Any) -> list[str]:
    if dataclasses.is_dataclass(plain):
        return [field.name for field in dataclasses.fields(plain) if not field.compare]
    return [field.name for field in getattr(plain, "__attrs_attrs__", ()) if not field.eq or field.eq_key]
