"""What the measured site writes, and the tables that the hand-written loops use."""

from django.db import models


class Effect(models.Model):
    """The change in the database that goes with one event."""

    key = models.CharField(max_length=50)
    number = models.IntegerField()

    def __str__(self) -> str:
        return f"{self.key} {self.number}"


class HandwrittenMark(models.Model):
    """The mark of an event that a hand-written loop has processed."""

    event_id = models.CharField(max_length=100, primary_key=True)

    def __str__(self) -> str:
        return self.event_id


class HandwrittenRow(models.Model):
    """An outbox as one would write it by hand."""

    topic = models.CharField(max_length=249)
    key = models.BinaryField()
    value = models.BinaryField()
    headers = models.BinaryField()
    saved_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"{self.topic} {self.pk}"
