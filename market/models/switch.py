"""The big red button: one row that every engine reads every 200 ms (SPEC M3)."""

from __future__ import annotations

from django.db import models


class EngineSwitch(models.Model):
    """Row 1 is the switch; no row means on (a new installation trades)."""

    on = models.BooleanField(default=True)
    changed_by = models.CharField(max_length=150, blank=True, default="")
    changed_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name_plural = "engine switch"

    def __str__(self) -> str:
        return "on" if self.on else "stopped"
