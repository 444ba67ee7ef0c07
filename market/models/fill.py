"""A fill: what a broker says was traded. Cash is the sum of these and nothing else."""

from __future__ import annotations

from django.db import models

from market.models.order import Order
from portfolios.models import Portfolio
from portfolios.models.fields import money


class Fill(models.Model):
    """In the portfolio's currency; `amount` is price × volume (× multiplier), `tax` stamp duty and transfer fee."""

    fill_id = models.CharField(max_length=64)
    broker = models.CharField(max_length=40)
    order = models.ForeignKey(Order, on_delete=models.PROTECT, related_name="fills", db_constraint=False)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.PROTECT, related_name="fills", db_constraint=False)
    code = models.CharField(max_length=20)
    direction = models.SmallIntegerField(choices=((1, "buy"), (-1, "sell")))
    volume = models.PositiveBigIntegerField()
    price = money()
    amount = money()
    commission = money()
    tax = money()
    event_time = models.DateTimeField()
    pseq = models.PositiveBigIntegerField(default=0, help_text="Of the feedback that told it.")
    recorded_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-event_time", "-id")
        constraints = (models.UniqueConstraint(fields=["broker", "fill_id"], name="one_fill_per_broker_id"),)
        indexes = (models.Index(fields=["portfolio", "event_time"]),)

    def __str__(self) -> str:
        return f"{'buy' if self.direction > 0 else 'sell'} {self.volume} {self.code} @ {self.price}"
