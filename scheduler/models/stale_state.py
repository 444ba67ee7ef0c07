"""A running portfolio whose state nobody writes any more, and that this was said (SPEC N9)."""

from __future__ import annotations

from django.db import models


class StaleState(models.Model):
    """One row an episode, in MySQL: whichever scheduler looks next says neither its beginning nor its end again."""

    portfolio_id = models.CharField(primary_key=True, max_length=36)
    written = models.CharField(max_length=64, blank=True, default="", help_text="When, by its own word.")
    since = models.DateTimeField(help_text="When it was last seen to be written.")

    def __str__(self) -> str:
        return f"{self.portfolio_id} since {self.since}"
