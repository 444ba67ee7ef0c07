"""An order or cancel of a stale owner: recorded and alerted, never sent, never answered (SPEC M2)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio


class FencedMessage(models.Model):
    """One row for each message and epoch, however often a stale owner repeats it."""

    message_id = models.CharField(max_length=36, help_text="The order's or the cancel's own id.")
    order_id = models.CharField(max_length=36, db_index=True)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.PROTECT, related_name="+", db_constraint=False)
    epoch = models.PositiveBigIntegerField(help_text="The sender's.")
    current_epoch = models.PositiveBigIntegerField(help_text="The assignment's, when it came.")
    message = models.JSONField()
    received_at = models.DateTimeField()

    class Meta:
        ordering = ("-received_at",)
        constraints = (models.UniqueConstraint(fields=["message_id", "epoch"], name="one_fencing_per_epoch"),)

    def __str__(self) -> str:
        return f"{self.order_id} of epoch {self.epoch}, not {self.current_epoch}"
