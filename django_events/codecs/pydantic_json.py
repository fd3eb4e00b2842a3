"""JSON through pydantic, for its models and dataclasses: with their aliases, validators and serializers.

pydantic is loaded by the first topic that has such a type, and needed by nobody else.
"""

from typing import TYPE_CHECKING, Generic, TypeVar

from django_events.codecs.names import name_of
from django_events.exceptions import DeclarationError, DecodeError

if TYPE_CHECKING:
    from pydantic import ValidationError

Payload = TypeVar("Payload")


class PydanticCodec(Generic[Payload]):
    """JSON for one payload type that pydantic knows how to read and write. Thread-safe."""

    content_type = "application/json"

    def __init__(self, payload_type: type[Payload]) -> None:
        """Raises DeclarationError for a type that pydantic cannot read from JSON."""
        from pydantic import TypeAdapter, ValidationError
        from pydantic.errors import PydanticUserError

        self._type = payload_type
        self._refusal = ValidationError
        try:
            self._adapter = TypeAdapter(payload_type)
            self._adapter.rebuild()  # or an annotation that names what does not exist is met at the first event
        except (PydanticUserError, NameError) as error:
            raise DeclarationError(
                f"The payload type {name_of(payload_type)} cannot be read by pydantic: "
                f"{str(error).partition(chr(10))[0]}. Change the annotation of that field."
            ) from error

    def encode(self, payload: Payload) -> bytes:
        # What does not fit the type is found by reading it again, with a better text than pydantic's warnings.
        return self._adapter.dump_json(payload, by_alias=True, warnings="none")

    def decode(self, data: bytes) -> Payload:
        """The payload in these bytes. Raises DecodeError saying where they do not fit the type."""
        try:
            return self._adapter.validate_json(data)
        except self._refusal as error:
            reason = _without_values(error)
        raise DecodeError(f"The body is not JSON of {name_of(self._type)}: {reason}") from ValueError(reason)


def _without_values(error: "ValidationError") -> str:
    """The first thing that pydantic says; its own text has values of the payload in it, which may be secret."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = "".join(f".{part}" for part in first["loc"])
    return f"{first['msg']} - at `${place}`"
