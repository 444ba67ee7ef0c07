"""What to do with ticks that arrive faster than a portfolio takes them: a pure decision (SPEC N4)."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

Policy: TypeAlias = Literal["catch_up", "conflate", "drop"]

WARNING_AT = 0.70
CRITICAL_AT = 0.95
WARNING_EVERY = 300.0
CRITICAL_EVERY = 60.0


class Decision(NamedTuple):
    """Queue the first `take` of the arriving events; `halt`: leave the others in the log, to be read again later."""

    take: int
    halt: bool
    level: Literal["", "warning", "critical"]


def decide(policy: Policy, queued: int, arriving: int, limit: int) -> Decision:
    """How many of `arriving` events a queue of `limit`, holding `queued`, takes, and which alert its level calls for.

    `catch_up` queues up to the limit and halts; `drop` and `conflate` queue up to 95 % and let the newest go (whoever
    conflates has done so before it asks).
    """
    room = max(0, (limit if policy == "catch_up" else int(limit * CRITICAL_AT)) - queued)
    take = min(arriving, room)
    filled = (queued + arriving) / limit
    level: Literal["", "warning", "critical"] = ""
    if filled >= CRITICAL_AT:
        level = "critical"
    elif filled >= WARNING_AT:
        level = "warning"
    return Decision(take, policy == "catch_up" and take < arriving, level)
