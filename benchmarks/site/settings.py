"""The site that is measured: the test project's settings with the benchmark's own app."""

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, DJANGO_EVENTS, INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "benchmarks.site"]
DATABASES["default"]["CONN_MAX_AGE"] = 60  # else each request connects, which takes longer than all else in it
DJANGO_EVENTS["SOURCE"] = "bench"
DJANGO_EVENTS["KAFKA_CONSUMER"] = {"session.timeout.ms": 6000}
