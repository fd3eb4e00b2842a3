"""What the mail service keeps."""

from django.db import models


class Confirmation(models.Model):
    """A confirmation that a customer is to get, once for each order."""

    order_id = models.BigIntegerField(unique=True)
    customer = models.CharField(max_length=100)

    def __str__(self) -> str:
        return f"confirmation of order {self.order_id} to {self.customer}"
