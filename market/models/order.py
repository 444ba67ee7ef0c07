"""An order as the engine accepted it; its id is taken once and for all (SPEC M2)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio
from portfolios.models.fields import money


class OrderState(models.TextChoices):
    """NEW → SENDING → ACCEPTED → PARTIALLY_FILLED → FILLED, or REJECTED, or CANCELLED."""

    NEW = "new"
    SENDING = "sending"
    ACCEPTED = "accepted"
    PARTIALLY_FILLED = "partially_filled"
    FILLED = "filled"
    REJECTED = "rejected"
    CANCELLED = "cancelled"


TERMINAL = (OrderState.FILLED, OrderState.REJECTED, OrderState.CANCELLED)


class Order(models.Model):
    order_id = models.CharField(primary_key=True, max_length=36)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.PROTECT, related_name="orders", db_constraint=False)
    epoch = models.PositiveBigIntegerField(help_text="Of the owner whose message was accepted.")
    code = models.CharField(max_length=20)
    direction = models.SmallIntegerField(choices=((1, "buy"), (-1, "sell")))
    order_type = models.CharField(max_length=8, choices=(("limit", "limit"), ("market", "market")))
    volume = models.PositiveBigIntegerField()
    price = money(null=True)
    cause = models.CharField(max_length=200)
    event_time = models.DateTimeField(help_text="The cause's own time.")
    received_at = models.DateTimeField()
    state = models.CharField(max_length=20, choices=OrderState, default=OrderState.NEW)
    filled_volume = models.PositiveBigIntegerField(default=0)
    reserved = money(default=0, help_text="Cash that the whole order holds back while it is open.")
    seq = models.PositiveIntegerField(default=0, help_text="Feedback given so far.")
    broker = models.CharField(max_length=40, blank=True, default="")
    reason = models.CharField(max_length=300, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("-received_at",)
        indexes = (
            models.Index(fields=["portfolio", "received_at"]),
            models.Index(fields=["state", "received_at"]),
            models.Index(fields=["received_at"]),
        )

    def __str__(self) -> str:
        return f"{'buy' if self.direction > 0 else 'sell'} {self.volume} {self.code}"
