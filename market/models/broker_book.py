"""The simulated exchange's own book: what *it* says about orders and fills, apart from the engine's (SPEC M4)."""

from __future__ import annotations

from django.db import models

from portfolios.models.fields import money


class BrokerOrder(models.Model):
    """An order as the exchange holds it: working, filled, cancelled or rejected.

    `resting` is the kernel's `Resting` as JSON, its tick cursor included; as it was read, it is also the token by
    which a write finds out that another was quicker.
    """

    order_id = models.CharField(primary_key=True, max_length=36)
    portfolio_id = models.CharField(max_length=36, db_index=True)
    code = models.CharField(max_length=20)
    direction = models.SmallIntegerField()
    volume = models.PositiveBigIntegerField()
    filled_volume = models.PositiveBigIntegerField(default=0)
    state = models.CharField(max_length=20, db_index=True, default="working")
    reason = models.CharField(max_length=300, blank=True, default="")
    ended_at = models.DateTimeField(null=True, help_text="Event time of what ended it: a tick, a cancel.")
    resting = models.TextField()
    submitted_count = models.PositiveIntegerField(
        default=1, help_text="How often it was submitted: 1, or something is wrong."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"{self.order_id} {self.state}"


class BrokerFill(models.Model):
    fill_id = models.CharField(primary_key=True, max_length=36)
    order = models.ForeignKey(BrokerOrder, on_delete=models.PROTECT, related_name="fills", db_constraint=False)
    number = models.PositiveIntegerField(help_text="Its place among the order's fills, from 1.")
    volume = models.PositiveBigIntegerField()
    price = money()
    amount = money()
    commission = money()
    tax = money()
    event_time = models.DateTimeField()
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("order", "number")

    def __str__(self) -> str:
        return f"{self.volume} @ {self.price}"
