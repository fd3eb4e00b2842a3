"""The tests' settings, with broadcast handlers in processes that serve requests."""

from tests.settings import *  # noqa: F403
from tests.settings import DJANGO_EVENTS, INSTALLED_APPS, env

INSTALLED_APPS = [*INSTALLED_APPS, "tests.web"]
ROOT_URLCONF = "tests.web.urls"
DJANGO_EVENTS["START_BROADCAST"] = env.bool("START_BROADCAST", default=False)
DJANGO_EVENTS["BROADCAST_HEARTBEAT"] = env.float("BROADCAST_HEARTBEAT", default=10.0)
