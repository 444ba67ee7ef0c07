"""How long to wait before a program that died is started again: a pure decision."""

from __future__ import annotations

FIRST = 0.5
LONGEST = 30.0
HEALTHY = 60.0


def delay(previous: float | None, ran_for: float) -> float:
    """Seconds to wait: 0.5 doubling to 30, and 0.5 again after a run of 60 seconds. `previous`: the last delay."""
    if previous is None or ran_for >= HEALTHY:
        return FIRST
    return min(previous * 2, LONGEST)
