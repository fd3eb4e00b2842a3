"""A site whose only page writes something and a row about it, and a thread that is woken to send it."""

import os
import uuid

from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path

get_wsgi_application()

from django.conf import settings  # noqa: E402

from benchmarks.handwritten.outbox import INSERT_ROW, Waker, add_lanes, row  # noqa: E402
from benchmarks.site.models import HandwrittenRow  # noqa: E402

waker = Waker(os.environ["DATABASE_URL"], os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["EVENTS_PREFIX"])


def ready(request: WSGIRequest) -> HttpResponse:
    add_lanes(os.environ["DATABASE_URL"])
    return HttpResponse("ready")


def order(request: WSGIRequest, number: int) -> HttpResponse:
    with transaction.atomic():
        HandwrittenRow.objects.create(topic="an order", key=b"", value=b"", headers=b"")  # the change
        with connection.cursor() as cursor:
            cursor.execute(INSERT_ROW, row("visitor", number, str(uuid.uuid4())))
    waker.wake()
    return HttpResponse("sent")


urlpatterns = [path("ready", ready), path("<int:number>", order)]
settings.ROOT_URLCONF = __name__
settings.MIDDLEWARE = []
application = get_wsgi_application()
