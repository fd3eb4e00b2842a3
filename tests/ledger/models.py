"""Accounts, which are locked before an event is written, and entries, which show what handlers did."""

from django.db import models


class Account(models.Model):
    """The aggregate of the ordering tests: ``last`` numbers its events without gaps."""

    name = models.CharField(max_length=50, unique=True)
    last = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Entry(models.Model):
    """One effect of one handler. Nothing in the database keeps an event from having two."""

    handler = models.CharField(max_length=50)
    topic = models.CharField(max_length=100)
    event_id = models.CharField(max_length=100)
    account = models.CharField(max_length=50)
    number = models.IntegerField()
    process = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.handler}: {self.account} {self.number}"
