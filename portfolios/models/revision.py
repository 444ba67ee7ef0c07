"""One accepted version of a portfolio's configuration: who, when and what changed (SPEC P2)."""

from __future__ import annotations

from django.conf import settings
from django.db import models

from portfolios.models.portfolio import Portfolio


class Revision(models.Model):
    portfolio = models.ForeignKey(Portfolio, on_delete=models.CASCADE, related_name="revisions")
    version = models.PositiveIntegerField()
    config = models.JSONField()
    author = models.ForeignKey(settings.AUTH_USER_MODEL, null=True, on_delete=models.SET_NULL, related_name="+")
    change = models.CharField(max_length=500, blank=True, default="")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("portfolio", "-version")
        constraints = (models.UniqueConstraint(fields=["portfolio", "version"], name="one_revision_per_version"),)

    def __str__(self) -> str:
        return f"{self.portfolio} v{self.version}"
