"""What a drill found: counted from the log, the engine's tables and the broker's book, never from a node's word."""

from __future__ import annotations

from typing import Any

import msgspec


class Timed(msgspec.Struct, frozen=True):
    """Something that has a limit, in `unit`."""

    what: str
    value: float
    must: float
    unit: str = "s"


class Outcome(msgspec.Struct, kw_only=True):
    """One drill. `orders_ghost`: orders the engine has of which the surviving history knows nothing; `pause_s`: the
    longest time between two orders of one portfolio while the drill ran, ticks may have been away too; `timed`: what
    must not last longer than it says; `faults`: what was done, and when what followed; `injected`: how many failures of
    `chaos` were done; `notes` say what else was seen; `skipped`: why it was not run."""

    name: str
    portfolios: int = 0
    messages: int = 0
    orders: int = 0
    messages_lost: int = 0
    messages_twice: int = 0
    orders_lost: int = 0
    orders_twice: int = 0
    orders_ghost: int = 0
    orders_unlogged: int = 0
    stale_orders: int = 0
    fenced: int = 0
    books_wrong: int = 0
    pause_s: float = 0.0
    timed: list[Timed] = []
    faults: list[str] = []
    injected: int = 0
    notes: list[str] = []
    failed: bool = False
    skipped: str = ""

    @property
    def passed(self) -> bool | None:
        """None: it was skipped, and has shown nothing."""
        if self.skipped:
            return None
        wrong = (
            self.messages_lost, self.messages_twice, self.orders_lost, self.orders_twice, self.orders_ghost,
            self.orders_unlogged, self.stale_orders, self.books_wrong,
        )  # fmt: skip
        in_time = all(each.value <= each.must for each in self.timed)
        # A drill in which nothing was traded has shown nothing.
        shown = self.orders > 0 and self.messages > 0
        return shown and not any(wrong) and in_time and not self.failed

    def document(self) -> dict[str, Any]:
        return {**msgspec.to_builtins(self), "pause_s": round(self.pause_s, 2), "passed": self.passed}
