"""What moved a portfolio's cash and positions, one row a cause, written with the checkpoint that contains it."""

from __future__ import annotations

from django.db import models

from portfolios.models.adjustment import Adjustment
from portfolios.models.fields import money
from portfolios.models.portfolio import Portfolio

FILL = "fill"


class LedgerEntry(models.Model):
    """A fill as the portfolio booked it, or an adjustment: at all times, to the unit,
    `cash == initial_cash + sum(cash_change)`.

    A fill's natural key is `pseq`, an adjustment's is `adjustment`: writing either again changes nothing.
    """

    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="ledger", db_constraint=False)
    kind = models.CharField(max_length=16, default=FILL, help_text="fill, or the kind of the adjustment")
    pseq = models.PositiveBigIntegerField(null=True)
    adjustment = models.OneToOneField(
        Adjustment, null=True, on_delete=models.PROTECT, related_name="entry", db_constraint=False
    )
    order_id = models.CharField(max_length=36, blank=True, default="")
    code = models.CharField(max_length=20, blank=True, default="")
    direction = models.SmallIntegerField(default=0)
    volume = models.PositiveBigIntegerField(default=0)
    price = money(default=0)
    fees = money(default=0)
    cash_change = money()
    event_time = models.DateTimeField()

    class Meta:
        ordering = ("portfolio", "id")
        constraints = (models.UniqueConstraint(fields=["portfolio", "pseq"], name="one_ledger_entry_per_pseq"),)
        # An engine asks at each order for the adjustments that are new.
        indexes = (models.Index(fields=["portfolio", "adjustment"]),)

    def __str__(self) -> str:
        return f"{self.portfolio_id} #{self.pseq if self.adjustment_id is None else self.kind}"
