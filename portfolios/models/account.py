"""A broker's account that portfolios trade in: paper, or real money (SPEC P11)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from portfolios.models.fields import money, new_id

SIMULATION = "simulation"
"""The name of the simulated exchange, where paper accounts are unless they say otherwise."""

CURRENCIES = {"cn": "CNY", "hk": "HKD", "us": "USD", "futures": "CNY"}
"""What each market is traded in: the `currency` of its rules."""


class Kind(models.TextChoices):
    PAPER = "paper"
    LIVE = "live"


class Account(models.Model):
    """Several portfolios may share one. `broker` is a name under `brokers` of the configuration.

    The three limits hold for all of its portfolios together, beside the engine's own for each; empty: no limit.
    """

    id = models.CharField(primary_key=True, max_length=36, default=new_id, editable=False)
    name = models.CharField(max_length=100)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="accounts")
    broker = models.CharField(max_length=40, default=SIMULATION)
    kind = models.CharField(max_length=8, choices=Kind, default=Kind.PAPER, help_text="Live: real money.")
    currency = models.CharField(max_length=3)
    max_orders_per_minute = models.PositiveIntegerField(null=True, blank=True)
    max_order_value = money(null=True, blank=True)
    max_daily_turnover = money(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name", "id")
        constraints = (models.UniqueConstraint(fields=["owner", "name"], name="one_account_per_name"),)

    def __str__(self) -> str:
        return self.name

    @property
    def is_live(self) -> bool:
        return self.kind == Kind.LIVE

    @classmethod
    def paper(cls, owner: Any, market: str, using: str | None = None) -> Account:
        """Where a portfolio trades that was given no account: its owner's paper account of its market."""
        made, _ = cls._default_manager.using(using).get_or_create(
            owner=owner, name=f"paper-{market}", defaults={"currency": CURRENCIES[market]}
        )
        return made
