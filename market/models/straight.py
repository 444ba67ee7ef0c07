"""The way around Kafka: where engines take orders straight from nodes, and what so came and is not in the log yet."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio


class EngineDoor(models.Model):
    """Where an engine listens. What a crash leaves behind does not answer, and its callers try the next.

    `opened_at`: when it last said that it is open, which it does every minute.
    """

    name = models.CharField(primary_key=True, max_length=200, help_text="The engine's, as in its consumer group.")
    host = models.CharField(max_length=255)
    port = models.PositiveIntegerField()
    opened_at = models.DateTimeField()

    class Meta:
        ordering = ("-opened_at",)

    def __str__(self) -> str:
        return f"{self.name} at {self.host}:{self.port}"


class LogDebt(models.Model):
    """An order or cancel that came straight: owed to `orders.submission`, and gone from here once it is there."""

    message_id = models.CharField(max_length=36, unique=True, help_text="The order's or the cancel's own id.")
    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    message = models.TextField(help_text="Word for word.")
    received_at = models.DateTimeField()

    class Meta:
        ordering = ("id",)

    def __str__(self) -> str:
        return f"{self.message_id} of {self.portfolio_id}"
