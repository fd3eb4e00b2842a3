"""The same site with the product, and a topic for each payload class."""

from benchmarks.handwritten.web_settings import *  # noqa: F403
from benchmarks.handwritten.web_settings import INSTALLED_APPS

INSTALLED_APPS = [*INSTALLED_APPS, "django_events", "benchmarks.many_topics"]
DJANGO_EVENTS = {"SOURCE": "bench"}
