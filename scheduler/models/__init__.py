"""The scheduler's truth: the nodes it knows, the plans it made, and the lease of its tick."""

from scheduler.models.node import Node
from scheduler.models.plan import Plan
from scheduler.models.tick_lease import TickLease

__all__ = ["Node", "Plan", "TickLease"]
