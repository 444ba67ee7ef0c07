"""An order or cancel of a stale owner: recorded and alerted, never sent, never answered (SPEC M2)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio


class FencedMessage(models.Model):
    order_id = models.CharField(max_length=36, db_index=True)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    epoch = models.PositiveBigIntegerField(help_text="The sender's.")
    current_epoch = models.PositiveBigIntegerField(help_text="The assignment's, when it came.")
    message = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        ordering = ("-received_at",)

    def __str__(self) -> str:
        return f"{self.order_id} of epoch {self.epoch} < {self.current_epoch}"
