"""A web process up to its first request: both sides run it, with settings of their own."""

import sys
from typing import Any

from benchmarks.child import Clock, peak_memory


def run(clock: Clock) -> dict[str, Any]:
    clock.wait_for_start()
    import django

    django.setup()
    from django.urls import get_resolver

    assert get_resolver().url_patterns
    clock.end()
    topics = sys.modules.get("django_events.topics")
    return {
        "memory": peak_memory(),
        "librdkafka": "confluent_kafka" in sys.modules,
        "modules": len(sys.modules),
        "topics": len(topics.declared()) if topics else 0,
    }
