"""What moved a portfolio's cash and positions, one row a cause, written with the checkpoint that contains it."""

from __future__ import annotations

from django.db import models

from portfolios.models.fields import money
from portfolios.models.portfolio import Portfolio


class LedgerEntry(models.Model):
    """A fill as the portfolio booked it. `pseq` is its natural key: writing it again changes nothing."""

    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="ledger", db_constraint=False)
    pseq = models.PositiveBigIntegerField()
    order_id = models.CharField(max_length=36)
    code = models.CharField(max_length=20)
    direction = models.SmallIntegerField()
    volume = models.PositiveBigIntegerField()
    price = money()
    fees = money()
    cash_change = money()
    event_time = models.DateTimeField()

    class Meta:
        ordering = ("portfolio", "pseq")
        constraints = (models.UniqueConstraint(fields=["portfolio", "pseq"], name="one_ledger_entry_per_pseq"),)

    def __str__(self) -> str:
        return f"{self.portfolio_id} #{self.pseq}"
