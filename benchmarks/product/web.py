"""A site whose only page writes something and sends an event about it."""

import time

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.db import transaction
from django.http import HttpResponse
from django.urls import path

get_wsgi_application()

from django.conf import settings  # noqa: E402

from benchmarks.site.events import Measured, measured, padding  # noqa: E402
from benchmarks.site.models import HandwrittenRow  # noqa: E402

PADDING = padding(256)


def ready(request: WSGIRequest) -> HttpResponse:
    return HttpResponse("ready")


def order(request: WSGIRequest, number: int) -> HttpResponse:
    with transaction.atomic():
        HandwrittenRow.objects.create(topic="an order", key=b"", value=b"", headers=b"")  # the change
        measured.send(Measured(number, time.time(), PADDING), key="visitor")
    return HttpResponse("sent")


urlpatterns = [path("ready", ready), path("<int:number>", order)]
settings.ROOT_URLCONF = __name__
settings.MIDDLEWARE = []
application = get_wsgi_application()
