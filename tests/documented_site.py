"""What the examples of the documentation take for granted: the names that stand around them on a page."""

import io
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Generic, TypeVar

import fastavro
from django.conf import settings
from django.db import transaction
from django.http import HttpRequest, StreamingHttpResponse
from django.test import TestCase, TransactionTestCase, override_settings
from django.urls import path
from google.protobuf.wrappers_pb2 import StringValue

import django_events
from django_events.testing import sending
from testproject.billing.models import Invoice


@dataclass(frozen=True)
class OrderPlaced:
    order_id: int
    customer: str
    total: Decimal


@dataclass(frozen=True)
class OrderCancelled:
    order_id: int


@dataclass(frozen=True)
class PriceChanged:
    product_id: int


@dataclass(frozen=True)
class Beat:
    node: str


@dataclass(frozen=True)
class Customer:
    name: str


@dataclass(frozen=True)
class XMLOrder:
    id: int
    line: list[str] = field(default_factory=list)


ORDER = SimpleNamespace(pk=1, total=Decimal("9.50"))

OF_PAGES: dict[str, dict[str, Any]] = {"xml.md": {"Order": XMLOrder}}
"""Names that mean something else on a page."""


def names(page: str) -> dict[str, Any]:
    """The names for a page. Declares topics and a group, so what is declared must be forgotten before and after."""
    return {
        **{name: getattr(django_events, name) for name in django_events.__all__},
        **_of_python(),
        **_of_django(),
        **_of_the_site(),
        **OF_PAGES.get(page, {}),
    }


def _of_python() -> dict[str, Any]:
    modules = {
        "io": io,
        "time": time,
        "uuid": uuid,
        "fastavro": fastavro,
        "log": logging.getLogger("shop"),
        "logger": logging.getLogger("shop"),
    }
    typing = (Any, Generic, AsyncGenerator, Iterator, Sequence, Path, Decimal, dataclass, contextmanager)
    return modules | {_name_of(each): each for each in typing} | {"M": TypeVar("M")}


def _of_django() -> dict[str, Any]:
    classes = (HttpRequest, StreamingHttpResponse, TestCase, TransactionTestCase, override_settings)
    return {each.__name__: each for each in classes} | {
        "transaction": transaction,
        "settings": settings,
        "path": path,
    }


def _of_the_site() -> dict[str, Any]:
    payloads = (OrderPlaced, OrderCancelled, PriceChanged, Beat, Customer)
    return {each.__name__: each for each in payloads} | {
        "Order": SimpleNamespace(objects=SimpleNamespace(create=lambda *_: ORDER)),
        "Invoice": Invoice,
        "InvalidAddress": ValueError,
        "order_placed": django_events.Topic("site.order-placed", OrderPlaced),
        "order_cancelled": django_events.Topic("site.order-cancelled", OrderCancelled),
        "price_changed": django_events.Topic("site.price-changed", PriceChanged),
        "heartbeat": django_events.Topic("site.beat", Beat),
        "crm": django_events.ConsumerGroup("crm"),
        "forget_all": lambda gap: None,
        "sending": sending,
        "node": "a",
        "events": [],
        "CLICK": {"type": "record", "name": "Click", "fields": [{"name": "x", "type": "int"}]},
        "OrderMessage": StringValue,
    }


def _name_of(given: Any) -> str:
    return str(getattr(given, "__name__", None) or given._name)
