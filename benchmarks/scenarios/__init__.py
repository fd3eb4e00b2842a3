"""The scenarios by name. Each file is a family of them; ``variants`` says what is run."""

import importlib
from collections.abc import Sequence

from benchmarks.variant import Variant

NAMES = (
    "drain",
    "latency",
    "commits",
    "consume",
    "slow-handler",
    "growth",
    "old-snapshot",
    "startup",
    "admin",
    "end-to-end",
    "broadcast",
    "instrumentation",
)


def variants(scenario: str, *, quick: bool) -> Sequence[Variant]:
    """The variants of a scenario, in full size or small."""
    module = importlib.import_module(f"benchmarks.scenarios.{scenario.replace('-', '_')}")
    found: Sequence[Variant] = module.variants(quick)
    return found
