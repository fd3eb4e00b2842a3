"""A site whose only page writes something and a row about it, and a thread that is woken to send it."""

import os
import uuid
import zlib

import msgspec
import psycopg
from django.core.handlers.wsgi import WSGIRequest
from django.core.wsgi import get_wsgi_application
from django.db import connection, transaction
from django.http import HttpResponse
from django.urls import path

get_wsgi_application()

from django.conf import settings  # noqa: E402

from benchmarks.handwritten.drain import LANES  # noqa: E402
from benchmarks.handwritten.latency import INSERT_LANES, INSERT_ROW, PADDING, TOPIC, Waker  # noqa: E402
from benchmarks.site.models import HandwrittenRow  # noqa: E402

KEY = b"visitor"
waker = Waker(os.environ["DATABASE_URL"], os.environ["KAFKA_BOOTSTRAP_SERVERS"], os.environ["EVENTS_PREFIX"])


def ready(request: WSGIRequest) -> HttpResponse:
    if not waker.is_alive():
        with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as connection:
            connection.execute(INSERT_LANES, [TOPIC, LANES - 1])
        waker.start()
    return HttpResponse("ready")


def order(request: WSGIRequest, number: int) -> HttpResponse:
    id = str(uuid.uuid4())
    value = msgspec.json.encode({"number": number, "at": 0.0, "padding": PADDING})
    headers = msgspec.msgpack.encode([("ce_id", id.encode()), ("content-type", b"application/json")])
    with transaction.atomic():
        HandwrittenRow.objects.create(topic="an order", key=b"", value=b"", headers=b"")  # the change
        with connection.cursor() as cursor:
            cursor.execute(INSERT_ROW, [TOPIC, zlib.crc32(KEY) % LANES, id, KEY, value, headers])
    waker.wake()
    return HttpResponse("sent")


urlpatterns = [path("ready", ready), path("<int:number>", order)]
settings.ROOT_URLCONF = __name__
settings.MIDDLEWARE = []
application = get_wsgi_application()
