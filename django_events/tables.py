"""Whether the site has our tables. One whose setting DATABASES is empty has none: then no database is touched, and what
needs the tables is refused."""

from collections.abc import Mapping, Sequence

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured

from django_events.exceptions import SettingsError

REMEDY = "Name the database in it that has them (['default']), and run `manage.py migrate`"
"""What makes everything possible that needs tables."""


def there_are_none() -> bool:
    """Whether ``DATABASES`` is an empty list. Never raises: declarations ask, which may be imported before anything is
    set up, and what is wrong with a setting the system check says."""
    try:
        given = getattr(django_settings, "DJANGO_EVENTS", {})
    except ImproperlyConfigured:
        return False
    databases = given.get("DATABASES") if isinstance(given, Mapping) else None
    return isinstance(databases, Sequence) and not isinstance(databases, str) and not databases


def require(what: str, instead: str = "") -> None:
    """Raise SettingsError if there are no tables. ``what`` is a call or command that needs them, ``instead`` a sentence
    about what does not."""
    if there_are_none():
        raise SettingsError(
            f"{what} needs the tables of django_events, and settings.DJANGO_EVENTS['DATABASES'] is empty: this site "
            f"has none. {REMEDY}{instead and '; ' + instead}."
        )
