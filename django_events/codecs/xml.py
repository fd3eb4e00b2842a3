"""XML for payloads of dataclasses, attrs classes, msgspec.Structs and TypedDicts, as other services write it.

A field is an element with its name, a list is the element again and again, None is no element. What the standard
library's parser and msgspec make of it, and no more: no schemas, no namespaces of one's own.
"""

from collections.abc import Iterator
from typing import Any, Generic, NoReturn, TypeVar
from xml.etree import ElementTree
from xml.etree.ElementTree import Element, SubElement

import msgspec
from msgspec import inspect

from django_events.codecs.names import name_of
from django_events.exceptions import DeclarationError, DecodeError

Payload = TypeVar("Payload")

WITH_FIELDS = inspect.DataclassType | inspect.StructType | inspect.TypedDictType
LISTS = inspect.ListType | inspect.VarTupleType | inspect.SetType | inspect.FrozenSetType


class XMLCodec(Generic[Payload]):
    """XML for one payload type: ``Topic("shop.order", Order, codec=XMLCodec(Order))``. Thread-safe.

    Read: elements in any order and namespace, attributes like elements, unknown ones passed over; a document with a
    DOCTYPE is refused, and with it entities of its own. Written: one element a field, in the order of the fields.
    """

    content_type = "application/xml"

    def __init__(self, payload_type: type[Payload], *, root: str | None = None) -> None:
        """``root`` is the name of the outermost element that is written; the type's name unless said otherwise.

        Raises DeclarationError for a type without fields, or one that msgspec cannot read.
        """
        self._type = payload_type
        self._root = root or name_of(payload_type).rpartition(".")[2]
        try:
            self._info = inspect.type_info(payload_type)
        except (TypeError, NameError) as error:
            raise DeclarationError(
                f"The payload type {name_of(payload_type)} cannot be read from XML: {error}. Change that annotation."
            ) from error
        if not isinstance(self._info, WITH_FIELDS):
            raise DeclarationError(
                f"The payload type {name_of(payload_type)} has no fields to make elements of. Use a dataclass, an "
                "attrs class, a msgspec.Struct or a TypedDict."
            )

    def __eq__(self, other: object) -> bool:
        """So that a topic may be declared again in the same way."""
        return isinstance(other, XMLCodec) and (self._type, self._root) == (other._type, other._root)

    def __hash__(self) -> int:
        return hash((self._type, self._root))

    def encode(self, payload: Payload) -> bytes:
        element = Element(self._root)
        _fill(element, msgspec.to_builtins(payload))
        written: bytes = ElementTree.tostring(element, encoding="utf-8", xml_declaration=True)
        return written

    def decode(self, data: bytes) -> Payload:
        """The payload in this document. Raises DecodeError saying where it does not fit the type."""
        try:
            element = ElementTree.fromstring(data, ElementTree.XMLParser(target=_WithoutDoctype()))
            return msgspec.convert(_read(element, self._info), self._type, strict=False)
        except (ElementTree.ParseError, msgspec.MsgspecError, ValueError, LookupError, RecursionError) as error:
            raise DecodeError(f"The body is not XML of {name_of(self._type)}: {error}") from error


class _WithoutDoctype(ElementTree.TreeBuilder):
    def doctype(self, name: str, pubid: str | None, system: str | None) -> NoReturn:
        """A DOCTYPE may define entities that grow without bound."""
        raise ValueError("it has a DOCTYPE")


def _fill(element: Element, value: Any) -> None:
    if isinstance(value, dict):
        for name, each in value.items():
            for item in each if isinstance(each, list | tuple) else [each]:
                if item is not None:
                    _fill(SubElement(element, str(name)), item)
    else:
        element.text = str(value).lower() if isinstance(value, bool) else str(value)


def _read(element: Element, wanted: inspect.Type) -> Any:
    """The element as what msgspec converts: guided by the type, because XML does not tell one from a list of one."""
    wanted = _without_none(wanted)
    if isinstance(wanted, WITH_FIELDS):
        return dict(_fields(element, wanted))
    if isinstance(wanted, inspect.DictType):
        return {_local(child.tag): _read(child, wanted.value_type) for child in element}
    if len(element):
        raise ValueError(f"<{_local(element.tag)}> has elements where a single value is expected")
    return element.text or ""


def _fields(element: Element, wanted: WITH_FIELDS) -> Iterator[tuple[str, Any]]:
    attributes = {_local(name): value for name, value in element.attrib.items()}
    for field in wanted.fields:
        name, kind = field.encode_name, _without_none(field.type)
        found = [child for child in element if _local(child.tag) == name]
        if isinstance(kind, LISTS):
            if found or field.type is kind:
                yield name, [_read(child, kind.item_type) for child in found]
        elif len(found) > 1:
            raise ValueError(f"<{_local(element.tag)}> has {len(found)} elements <{name}> where one is expected")
        elif found:
            yield name, _read(found[0], kind)
        elif name in attributes:
            yield name, attributes[name]
        elif field.type is not kind:
            yield name, None


def _without_none(wanted: inspect.Type) -> inspect.Type:
    """The type itself where it may also be None, which is no element."""
    if isinstance(wanted, inspect.UnionType):
        others = [each for each in wanted.types if not isinstance(each, inspect.NoneType)]
        return others[0] if len(others) == 1 else wanted
    return wanted


def _local(tag: Any) -> str:
    """The name without its namespace."""
    return str(tag).rpartition("}")[2]
