"""A planned move under way: the source was asked to hand a portfolio over and has until `deadline` (SPEC S4)."""

from __future__ import annotations

from django.db import models


class PlannedMove(models.Model):
    """At most one a portfolio, deleted when it is over; the plans' history and the command log keep the story.

    It is over as soon as the assignment's epoch is no longer `epoch`, whoever changed it.
    """

    portfolio_id = models.CharField(primary_key=True, max_length=36)
    source = models.CharField(max_length=100)
    target = models.CharField(max_length=100)
    epoch = models.PositiveBigIntegerField(help_text="The source's, as read when the move was begun.")
    reason = models.CharField(max_length=300, blank=True, default="")
    command_id = models.CharField(max_length=36, blank=True, default="")
    started_at = models.DateTimeField()
    deadline = models.DateTimeField()

    class Meta:
        ordering = ("started_at", "portfolio_id")

    def __str__(self) -> str:
        return f"{self.portfolio_id}: {self.source} → {self.target}"
