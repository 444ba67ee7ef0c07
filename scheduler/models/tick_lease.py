"""The right to run a scheduler's tick: a row that expires, so a frozen holder blocks nobody (SPEC S1)."""

from __future__ import annotations

from django.db import models


class TickLease(models.Model):
    """`requested` counts the ticks asked for: who finds the lease taken adds one, and its holder goes round again."""

    name = models.CharField(primary_key=True, max_length=40)
    holder = models.CharField(max_length=100, blank=True, default="")
    expires_at = models.DateTimeField(null=True)
    requested = models.PositiveBigIntegerField(default=0)

    def __str__(self) -> str:
        return f"{self.name}: {self.holder or 'free'}"
