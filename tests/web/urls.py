"""A page that says which process has made it and whether that one is live, one that sends an event, and metrics."""

import os

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.urls import path

from django_events import broadcast_is_live, views
from tests.ledger.events import EntryMade, entry_made


def tell(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"process": os.getpid(), "is_live": broadcast_is_live()})


def send(request: HttpRequest) -> JsonResponse:
    with transaction.atomic():
        entry_made.send(EntryMade("ann", 1), key="ann")
    return JsonResponse({"process": os.getpid()})


urlpatterns = [path("", tell), path("send", send), path("metrics", views.metrics)]
