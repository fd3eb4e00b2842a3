"""Settings of the test project. All come from the environment; the defaults need nothing but Python."""

from pathlib import Path
from typing import Any

import environ

BASE_DIR = Path(__file__).resolve().parent.parent

env = environ.Env()

SECRET_KEY = env.str("SECRET_KEY", default="for the test project only")
DEBUG = env.bool("DEBUG", default=False)
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "testserver"]

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
    "django_events",
    "testproject.shop",
    "testproject.billing",
    "testproject.mail",
    "testproject.demo",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]
ROOT_URLCONF = "testproject.urls"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "static/"
TIME_ZONE = "UTC"
USE_TZ = True
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

DATABASES: dict[str, dict[str, Any]] = {
    "default": env.db_url("DATABASE_URL", default=f"sqlite:///{BASE_DIR / 'db.sqlite3'}")
}
if DATABASES["default"]["ENGINE"].endswith("sqlite3"):
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 20,
        "init_command": "PRAGMA journal_mode=WAL;PRAGMA synchronous=NORMAL",
    }
    # A file, not memory: the tests' threads and processes share it.
    file = Path(DATABASES["default"]["NAME"])
    DATABASES["default"]["TEST"] = {"NAME": file.with_name(f"test-{file.name}")}

DJANGO_EVENTS: dict[str, Any] = {
    "SOURCE": "shop",
    "PREFIX": env.str("EVENTS_PREFIX", default=""),
    "KAFKA": {"bootstrap.servers": env.str("KAFKA_BOOTSTRAP_SERVERS", default="127.0.0.1:9092")},
    "KAFKA_CONSUMER": env.json("KAFKA_CONSUMER", default={}),
    "SEND_AFTER_COMMIT": env.bool("SEND_AFTER_COMMIT", default=True),
    "AUTO_CREATE_TOPICS": env.bool("AUTO_CREATE_TOPICS", default=True),
}

DEMO_JOURNAL = env.str("DEMO_JOURNAL", default="")
"""The file in which the demo's processes note what they learn; empty outside of the demo."""

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"terminal": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"django_events": {"handlers": ["terminal"], "level": env.str("EVENTS_LOG_LEVEL", default="INFO")}},
}
