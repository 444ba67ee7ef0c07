"""Feedback still to be told, numbered densely per portfolio, in the transaction that made it true (SPEC M2)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio


class FeedbackCounter(models.Model):
    """The last `pseq` given to a portfolio's feedback; its row is the lock under which the next is taken."""

    portfolio = models.OneToOneField(Portfolio, primary_key=True, on_delete=models.CASCADE, db_constraint=False)
    pseq = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.portfolio_id}: {self.pseq}"


class OutboxMessage(models.Model):
    """One feedback message, word for word as it is published. Kept: a gap in `pseq` is filled from here."""

    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    pseq = models.PositiveBigIntegerField()
    order_id = models.CharField(max_length=36, db_index=True)
    message = models.TextField()
    published = models.BooleanField(default=False)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("id",)
        constraints = (models.UniqueConstraint(fields=["portfolio", "pseq"], name="one_feedback_per_pseq"),)
        indexes = (models.Index(fields=["published", "id"]),)

    def __str__(self) -> str:
        return f"{self.portfolio_id} #{self.pseq}"
