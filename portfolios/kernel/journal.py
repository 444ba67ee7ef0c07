"""What a portfolio writes down about its decisions, for people: bounded, and not part of the state."""

from __future__ import annotations

from collections import deque

from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.signals import Decision, DecisionKind
from portfolios.kernel.watch import Watch

MAX_DECISIONS = 1000


class Journal:
    __slots__ = ("_decisions",)

    def __init__(self) -> None:
        self._decisions: deque[Decision] = deque(maxlen=MAX_DECISIONS)

    def add(self, decision: Decision) -> None:
        self._decisions.append(decision)

    def note(
        self,
        watch: Watch,
        tick: PriceUpdate,
        kind: DecisionKind,
        direction: int,
        source: str,
        reason: str,
        volume: int = 0,
        order_id: str = "",
    ) -> None:
        """Writes a decision down; the same one of the same code, tick after tick, only once."""
        noted = (kind, reason)
        if noted == watch.noted and not order_id:
            return
        watch.noted = noted
        self._decisions.append(Decision(tick.timestamp, kind, watch.code, direction, source, reason, volume, order_id))

    def take(self) -> list[Decision]:
        """What was written since the last call, the newest `MAX_DECISIONS`."""
        decisions = list(self._decisions)
        self._decisions.clear()
        return decisions
