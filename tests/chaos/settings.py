"""Settings of the chaotic site: the test project's, with one app, and bugs if somebody wants them planted."""

from testproject.settings import *  # noqa: F403
from testproject.settings import DJANGO_EVENTS, env

INSTALLED_APPS = ["django.contrib.contenttypes", "django_events", "tests.chaos"]
ROOT_URLCONF = ""

DJANGO_EVENTS = {
    **DJANGO_EVENTS,
    # Small batches: one round has several on their way, so that one may be refused and the next be taken.
    "KAFKA_PRODUCER": {"batch.num.messages": 5},
}

CHAOS_PLANTED = env.str("CHAOS_PLANTED", default="")
"""The planted bug with which this process runs; empty for none."""
