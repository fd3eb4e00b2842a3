"""An index by hash for every site, also for one without the app ``django.contrib.postgres``. Migrations name it."""

from typing import Any

from django.contrib.postgres import indexes
from django.core.checks import CheckMessage


class HashIndex(indexes.HashIndex):
    """Django's own, without a check that would have each site install something.

    From Django 6.1 on ``migrate`` refuses it unless ``django.contrib.postgres`` is installed. The index needs nothing
    of that app, and the app would need psycopg on SQLite, too.
    """

    def check(self, *args: Any, **kwargs: Any) -> list[CheckMessage]:
        found: list[CheckMessage] = super().check(*args, **kwargs)
        return [message for message in found if message.id != "postgres.E005"]
