"""What the services tell whoever listens, after the transaction that made it true.

Receivers turn these into commands to nodes and scheduler ticks, which are hints: a lost one costs time, nothing else.
"""

from __future__ import annotations

from django.dispatch import Signal

desired_state_changed = Signal()
"""portfolio_id, desired_state: the owner wants it running or stopped."""

config_changed = Signal()
"""portfolio_id, version: there is a newer configuration, or the owner asks to load the newest again."""
