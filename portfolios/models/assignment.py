"""Ownership is a number: the one node that may run a portfolio, and the epoch of that right (SPEC section 0)."""

from __future__ import annotations

from django.db import models

from portfolios.models.portfolio import Portfolio


class Assignment(models.Model):
    """One row a portfolio, made with it; every change of owner adds one to `epoch` (see `portfolios.ownership`)."""

    portfolio = models.OneToOneField(Portfolio, primary_key=True, on_delete=models.CASCADE)
    node_id = models.CharField(max_length=100, blank=True, default="", help_text="Empty: nobody's.")
    epoch = models.PositiveBigIntegerField(default=0)
    reason = models.CharField(max_length=300, blank=True, default="")
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        ordering = ("portfolio",)
        indexes = (models.Index(fields=["node_id"]),)

    def __str__(self) -> str:
        return f"{self.portfolio_id} → {self.node_id or 'nobody'} (epoch {self.epoch})"
