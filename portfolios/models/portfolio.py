"""A portfolio: a strategy, its risk rules and its sizer, with cash of its own (SPEC P1)."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.db import models

from portfolios.models.account import Account
from portfolios.models.fields import money, new_id


class Market(models.TextChoices):
    CN = "cn", "A-shares"
    HK = "hk", "Hong Kong"
    US = "us", "United States"
    FUTURES = "futures", "China futures"


class Status(models.TextChoices):
    """The lifecycle (SPEC P3); `portfolios.lifecycle` holds the allowed transitions."""

    CREATED = "created"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"
    RELOADING = "reloading"
    ERROR = "error"


class DesiredState(models.TextChoices):
    RUNNING = "running"
    STOPPED = "stopped"


class Portfolio(models.Model):
    """What the owner asked for (`config`, `desired_state`) and what became of it (`status`)."""

    id = models.CharField(primary_key=True, max_length=36, default=new_id, editable=False)
    name = models.CharField(max_length=200)
    owner = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="portfolios")
    market = models.CharField(max_length=16, choices=Market, default=Market.CN)
    account = models.ForeignKey(
        Account, on_delete=models.PROTECT, related_name="portfolios", help_text="Where its orders trade."
    )
    initial_cash = money()
    config = models.JSONField()
    version = models.PositiveIntegerField(default=1)
    desired_state = models.CharField(max_length=16, choices=DesiredState, default=DesiredState.STOPPED)
    status = models.CharField(max_length=16, choices=Status, default=Status.CREATED)
    status_reason = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("name", "id")
        # The second is the order of every list.
        indexes = (models.Index(fields=["desired_state"]), models.Index(fields=["name", "id"]))

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """One that was given no account trades in its owner's paper account of its market."""
        if self.account_id is None:
            self.account = Account.paper(self.owner, self.market, kwargs.get("using"))
        super().save(*args, **kwargs)
