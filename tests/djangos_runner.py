"""Tests for Django's own runner, which ``test_safe_in_tests`` starts; pytest does not collect them."""

import threading
from decimal import Decimal

from django.test import TestCase, TransactionTestCase

from django_events import Topic
from django_events.testing import saved_events, sent_events
from testproject.shop import orders


class OrdersInATransaction(TestCase):
    def test_place(self) -> None:
        with self.captureOnCommitCallbacks(execute=True):
            orders.place("ann", Decimal(5))
        self.assertEqual(len(saved_events("shop.order-placed")), 1)
        self.assertEqual(threading.active_count(), 1)


class CommittedOrders(TransactionTestCase):
    def test_place(self) -> None:
        orders.place("ann", Decimal(5))
        self.assertEqual(len(saved_events("shop.order-placed")), 1)
        self.assertEqual(threading.active_count(), 1)


class SentNow(TestCase):
    """Each test begins with nothing sent."""

    topic = Topic("sent-now", dict)

    def test_one(self) -> None:
        self.topic.send_now({"n": 1})
        self.assertEqual([event.payload for event in sent_events()], [{"n": 1}])

    test_another = test_one
