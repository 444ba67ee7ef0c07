"""One version of the plan: who runs what, what moved and why, what could not be placed (SPEC S5)."""

from __future__ import annotations

from django.db import models


class Plan(models.Model):
    """`placements` is `{portfolio_id: [node_id, epoch]}`; `moves` `[{portfolio_id, source, target, kind, reason}]`."""

    version = models.BigAutoField(primary_key=True)
    placements = models.JSONField(default=dict)
    moves = models.JSONField(default=list)
    unplaced = models.JSONField(default=dict, help_text="portfolio_id: reason")
    node_count = models.PositiveIntegerField(default=0)
    trigger = models.CharField(max_length=100, default="beat")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-version",)

    def __str__(self) -> str:
        return f"plan {self.version}"
