"""What components say to the portfolio, and what the portfolio writes down of it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal, NamedTuple

import msgspec


class Signal(NamedTuple):
    """A strategy's wish: `direction` BUY or SELL, of `code` (empty: the code of the tick)."""

    direction: int
    reason: str = ""
    code: str = ""


class Verdict(NamedTuple):
    """A risk rule's answer to a signal: at most `max_value` (units of money) may be traded; 0 is a veto."""

    max_value: int
    reason: str


class Exit(NamedTuple):
    """A risk rule's own wish to leave the code of the tick, or (`everything`) all that is held or being bought."""

    reason: str
    everything: bool = False


DecisionKind = Literal["signal", "exit", "veto", "shrink", "skip", "order", "cancel", "data"]


class Decision(msgspec.Struct, frozen=True, gc=False):
    """One thing the portfolio decided, and why: for people, not part of the state.

    `data` is a price that was not used (stale or absurd); `skip` a signal with nothing to do.
    """

    timestamp: datetime
    kind: DecisionKind
    code: str
    direction: int
    source: str
    reason: str
    volume: int = 0
    order_id: str = ""
