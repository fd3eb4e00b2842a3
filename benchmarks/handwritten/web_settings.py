"""A site with what most sites have, without the product."""

SECRET_KEY = "for the benchmark only"
INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.messages",
    "django.contrib.sessions",
]
ROOT_URLCONF = "benchmarks.web_urls"
USE_TZ = True
DATABASES = {"default": {"ENGINE": "django.db.backends.postgresql", "NAME": "never-used"}}
