"""What goes wrong with history, in one line that says what to do."""

from __future__ import annotations


class HistoryAway(Exception):
    """Its server does not answer, or there is no history yet."""


class HistoryRefused(Exception):
    """Its server answers, and will not do what it is asked: trying again would not help."""
