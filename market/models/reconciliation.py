"""What reconciliation found: each difference between two books while it stands and after, and when it last looked."""

from __future__ import annotations

from django.db import models

from portfolios.models import Account, Portfolio
from portfolios.models.fields import money


class MismatchState(models.TextChoices):
    """SUSPECTED: found once, perhaps in flight. OPEN: found twice running, and alerted."""

    SUSPECTED = "suspected"
    OPEN = "open"
    RESOLVED = "resolved"


class MismatchScope(models.TextChoices):
    PORTFOLIO = "portfolio", "portfolio's own books"
    ACCOUNT = "account", "broker's books"


class MismatchKind(models.TextChoices):
    POSITION = "position"
    CASH = "cash"


class Mismatch(models.Model):
    """`expected` is what fills and ledger say; `actual` what the portfolio's checkpoint says, or, of an account, the
    broker. Volumes for positions, currency for cash.

    `standing` names what it is about while it is not resolved, NULL after: so there is one at a time.
    """

    scope = models.CharField(max_length=16, choices=MismatchScope)
    kind = models.CharField(max_length=16, choices=MismatchKind)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    portfolio = models.ForeignKey(Portfolio, null=True, on_delete=models.CASCADE, related_name="+", db_constraint=False)
    code = models.CharField(max_length=20, blank=True, default="")
    expected = money()
    actual = money()
    pseq = models.PositiveBigIntegerField(
        null=True, help_text="The feedback up to which a portfolio's books were compared."
    )
    state = models.CharField(max_length=16, choices=MismatchState, default=MismatchState.SUSPECTED)
    standing = models.CharField(max_length=100, unique=True, null=True, editable=False)
    told = money(null=True, editable=False, help_text="The difference that was alerted.")
    found_at = models.DateTimeField(help_text="By the first comparison.")
    seen_at = models.DateTimeField(help_text="By the last one.")
    resolved_at = models.DateTimeField(null=True)
    acknowledged_by = models.CharField(max_length=150, blank=True, default="")
    acknowledged_at = models.DateTimeField(null=True)

    class Meta:
        ordering = ("-found_at", "-id")
        verbose_name = "difference"
        verbose_name_plural = "differences"
        indexes = (models.Index(fields=["state", "found_at"]),)

    def __str__(self) -> str:
        return f"{self.kind} {self.code}".strip() + f" of {self.scope} {self.portfolio_id or self.account_id}"


class ReconciliationRun(models.Model):
    """One broker's last comparison; `started_at` is the claim by which one of its engines makes the next."""

    broker = models.CharField(primary_key=True, max_length=40)
    wanted_at = models.DateTimeField(null=True, help_text="Somebody asked for one.")
    started_at = models.DateTimeField(null=True)
    done_at = models.DateTimeField(null=True)
    portfolios = models.PositiveIntegerField(default=0, help_text="Compared by the last one.")
    accounts = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0, help_text="Could not be compared: the broker was away, or moving.")
    suspected = models.PositiveIntegerField(default=0, help_text="Differences that the next one has to confirm.")

    def __str__(self) -> str:
        return f"{self.broker}, done {self.done_at}"
