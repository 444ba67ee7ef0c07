"""What the services tell whoever listens, after the transaction that made it true.

Receivers turn these into commands to nodes and scheduler ticks, which are hints: a lost one costs time, nothing else.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from django.db import transaction
from django.dispatch import Signal

from portfolios.models import Portfolio

desired_state_changed = Signal()
"""portfolio_id, desired_state, asked_by: the owner wants it running or stopped, perhaps once more."""

config_changed = Signal()
"""portfolio_id, version, asked_by: there is a newer configuration, or somebody asks to load the newest again."""

adjustment_asked = Signal()
"""portfolio_id, asked_by: a deposit or a correction waits for the node that runs it."""


def tell(signal: Signal, portfolio_id: str, **facts: Any) -> None:
    """After the commit, and whatever a receiver does: its failure is logged and must not undo what was written."""
    transaction.on_commit(partial(signal.send_robust, sender=Portfolio, portfolio_id=portfolio_id, **facts))
