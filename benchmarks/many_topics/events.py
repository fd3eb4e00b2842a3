"""A topic for each of the payload classes."""

from typing import Any

from benchmarks.many_payloads import payloads
from django_events import Topic

many: list[Topic[Any]] = [Topic(f"many.topic-{number}", payload) for number, payload in enumerate(payloads)]
