"""A page that says which process has made it, and whether that one is live."""

import os

from django.http import HttpRequest, JsonResponse
from django.urls import path

from django_events import broadcast_is_live


def tell(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"process": os.getpid(), "is_live": broadcast_is_live()})


urlpatterns = [path("", tell)]
