"""The scheduler's truth: the nodes it knows, the plans it made, the moves under way, and the lease of its tick."""

from scheduler.models.node import Node
from scheduler.models.plan import Plan
from scheduler.models.planned_move import PlannedMove
from scheduler.models.redis_watch import RedisWatch
from scheduler.models.requirement import Requirement
from scheduler.models.stale_state import StaleState
from scheduler.models.tick_lease import TickLease

__all__ = ["Node", "Plan", "PlannedMove", "RedisWatch", "Requirement", "StaleState", "TickLease"]
