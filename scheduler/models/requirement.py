"""Labels a portfolio asks of its node beyond its market, set by an operator (SPEC S2)."""

from __future__ import annotations

from django.db import models

from portfolios.models import Portfolio
from scheduler.models.labels import validate_requirement


class Requirement(models.Model):
    """`labels` like `{"region": "shanghai"}`: only a node that carries each of them hosts the portfolio."""

    portfolio = models.OneToOneField(Portfolio, primary_key=True, on_delete=models.CASCADE, related_name="+")
    labels = models.JSONField(default=dict, validators=[validate_requirement], help_text='Like {"region": "shanghai"}.')

    class Meta:
        ordering = ("portfolio",)

    def __str__(self) -> str:
        return f"{self.portfolio}: {self.labels}"
