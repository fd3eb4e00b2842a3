"""An app with as many payload classes as it is told to have, as a large site has them with or without the product."""

import os
from dataclasses import make_dataclass

FIELDS = [("number", int), ("name", str), ("at", float)]

payloads: list[type] = [
    make_dataclass(f"Payload{number}", FIELDS, frozen=True) for number in range(int(os.environ["BENCHMARK_TOPICS"]))
]
