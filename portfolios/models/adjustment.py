"""What a person changes in a portfolio's books: a deposit, a withdrawal, a correction, an opening position (P11)."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from portfolios.models.fields import money, new_id
from portfolios.models.portfolio import Portfolio


class AdjustmentKind(models.TextChoices):
    DEPOSIT = "deposit"
    WITHDRAWAL = "withdrawal"
    CORRECTION = "correction"
    OPENING = "opening"
    IMPORT = "import"


class AdjustmentState(models.TextChoices):
    PENDING = "pending"
    APPLIED = "applied"
    REFUSED = "refused"


class Adjustment(models.Model):
    """A request with who, when and why, and what became of it. Either `amount` (cash) or `code` and `volume` is set.

    Applied by whoever owns the portfolio, once: its ledger entry, `applied` here and the state that contains it are
    one transaction (`portfolios.checkpoints.save`). `price` empty: at the position's average cost.
    """

    request_id = models.CharField(max_length=36, unique=True, default=new_id, editable=False)
    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="adjustments")
    kind = models.CharField(max_length=16, choices=AdjustmentKind)
    amount = money(default=0, help_text="More cash, or, negative, less.")
    code = models.CharField(max_length=20, blank=True, default="")
    volume = models.BigIntegerField(default=0, help_text="More of the code, or, negative, less.")
    price = money(null=True, blank=True)
    held_since = models.DateField(null=True, blank=True)
    reason = models.CharField(max_length=300)
    author = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    state = models.CharField(max_length=16, choices=AdjustmentState, default=AdjustmentState.PENDING)
    outcome = models.CharField(max_length=300, blank=True, default="")
    requested_at = models.DateTimeField(auto_now_add=True)
    settled_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        ordering = ("-id",)
        indexes = (
            models.Index(fields=["portfolio", "state"]),
            models.Index(fields=["state"]),
            models.Index(fields=["requested_at"]),
        )

    def __str__(self) -> str:
        return f"{self.kind} {self.code or self.amount} ({self.state})"
