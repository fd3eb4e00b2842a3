"""What billing keeps."""

from django.db import models


class Invoice(models.Model):
    """An invoice. Nothing here keeps an order from getting two: that is the handler's promise."""

    order_id = models.BigIntegerField()
    total = models.DecimalField(max_digits=10, decimal_places=2)
    written_at = models.DateTimeField(auto_now_add=True)

    def __str__(self) -> str:
        return f"invoice {self.pk} for order {self.order_id}"
