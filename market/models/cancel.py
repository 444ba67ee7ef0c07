"""A cancel as the engine accepted it; for an order not yet known it is the tombstone (SPEC N8)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio


class CancelRequest(models.Model):
    cancel_id = models.CharField(primary_key=True, max_length=36)
    order_id = models.CharField(max_length=36, db_index=True)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    epoch = models.PositiveBigIntegerField()
    cause = models.CharField(max_length=200)
    event_time = models.DateTimeField()
    received_at = models.DateTimeField()
    done = models.BooleanField(default=False, help_text="The broker has answered it, or there was nothing to cancel.")

    class Meta:
        ordering = ("-received_at",)

    def __str__(self) -> str:
        return f"cancel {self.order_id}"
