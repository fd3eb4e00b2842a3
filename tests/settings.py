"""The test project's settings, with the app whose events the tests watch, and a second database if one is named."""

from testproject.settings import *  # noqa: F403
from testproject.settings import DATABASES, DJANGO_EVENTS, INSTALLED_APPS, env

INSTALLED_APPS = [*INSTALLED_APPS, "tests.ledger"]

DJANGO_EVENTS["EXIT_TIMEOUT"] = env.float("EXIT_TIMEOUT", default=2.0)

PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]  # takes no time, and nobody's password is a secret

if OTHER_DATABASE_URL := env.str("OTHER_DATABASE_URL", default=""):
    DATABASES["other"] = env.db_url_config(OTHER_DATABASE_URL)
    DJANGO_EVENTS["DATABASES"] = ["default", "other"]
