"""Topics with a payload class each, as a large site has them."""

import os
from dataclasses import make_dataclass
from typing import Any

from django_events import Topic

FIELDS = [("number", int), ("name", str), ("at", float)]

many: list[Topic[Any]] = [
    Topic(f"many.topic-{number}", make_dataclass(f"Payload{number}", FIELDS, frozen=True))
    for number in range(int(os.environ["BENCHMARK_TOPICS"]))
]
