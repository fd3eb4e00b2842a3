"""What the chaotic site keeps, and what its handlers leave."""

from django.db import models


class Account(models.Model):
    """An aggregate: who has locked it numbers its events."""

    name = models.CharField(max_length=50, unique=True)
    last = models.IntegerField(default=0)

    def __str__(self) -> str:
        return self.name


class Change(models.Model):
    """What an event tells of, written with it: it is there at the end if the event was committed."""

    event_id = models.CharField(max_length=100)

    def __str__(self) -> str:
        return self.event_id


class Trace(models.Model):
    """One effect of one handler. Nothing in the database keeps an event from having two."""

    handler = models.CharField(max_length=50)
    event_id = models.CharField(max_length=100)
    at = models.FloatField()

    def __str__(self) -> str:
        return f"{self.handler}: {self.event_id}"
