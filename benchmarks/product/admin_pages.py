"""An operator looks at pages of the admin, each several times."""

import statistics
import time
from typing import Any

from benchmarks.child import Clock, set_up_django

set_up_django()

from django.contrib.auth import get_user_model  # noqa: E402
from django.db import connections  # noqa: E402
from django.test import Client  # noqa: E402

from django_events.models import DeadLetter  # noqa: E402

LIST = 'id="result_list"'
"""What a page of Django's has only if its list has rows."""


def run(clock: Clock, pages: dict[str, str], times: int) -> dict[str, Any]:
    """``pages`` has an address under /admin/django_events/ for each name; {letter} is the newest open dead letter."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser("operator"))
    letter = DeadLetter.objects.filter(state="waiting").latest("id")
    looks = {name: address.replace("{letter}", str(letter.pk)) for name, address in pages.items()}
    for address in looks.values():  # templates are read once
        shown = letter.event_id if address.endswith("/change/") else LIST
        assert shown in look(client, address)[1], f"{address}: the page does not have {shown!r}"
    clock.wait_for_start()
    seconds = {name: [look(client, address)[0] for _ in range(times)] for name, address in looks.items()}
    clock.end()
    connections.close_all()
    return {"seconds": {name: statistics.median(found) for name, found in seconds.items()}}


def look(client: Client, address: str) -> tuple[float, str]:
    """Seconds that the page took, and its text."""
    began = time.perf_counter()
    answer = client.get(f"/admin/django_events/{address}")
    seconds = time.perf_counter() - began
    assert answer.status_code == 200, f"{address}: {answer.status_code}"
    return seconds, answer.content.decode()
