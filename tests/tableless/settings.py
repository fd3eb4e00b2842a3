"""No tables of django_events. ``ENGINE`` in the environment names Django's only database; without it there is none."""

import os

SECRET_KEY = "for tests only"
INSTALLED_APPS = ["django_events", "tests.tableless"]
USE_TZ = True

DATABASES = {"default": {"ENGINE": os.environ["ENGINE"], "NAME": "x"}} if os.environ.get("ENGINE") else {}

DJANGO_EVENTS = {
    "SOURCE": "tableless",
    "DATABASES": [],
    "PREFIX": os.environ.get("EVENTS_PREFIX", ""),
    "KAFKA": {"bootstrap.servers": os.environ.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1")},
}
