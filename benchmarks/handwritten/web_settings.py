"""A site with what most sites have, and payload classes, without the product."""

SECRET_KEY = "for the benchmark only"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
    "benchmarks.many_payloads",
]
ROOT_URLCONF = "benchmarks.web_urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "never-used"}}
