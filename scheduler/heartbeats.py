"""Which nodes are new, back, restarted, lost or ailing: a pure judgement of what Redis says now (SPEC S3, N9).

A heartbeat that is gone means a lost node, for the key itself waited one TTL. Not so when Redis has just restarted, did
not answer before, or most heartbeats vanished together: then it is rather Redis than the nodes, and nothing is
believed until one TTL later.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

AILING = frozenset({"fenced", "unhealthy"})
"""States by which a node says that its portfolios do not trade."""
NOT_ACCEPTING = AILING | {"draining", "drained", "stopping", "stopped"}
"""States in which a node is given nothing more."""


@dataclass(frozen=True)
class Pulse:
    """One node as Redis shows it now. Memory in MB, CPU in percent, queue in events (mean)."""

    node_id: str
    at: str = ""
    instance: str = ""
    state: str = ""
    host: str = ""
    pid: int | None = None
    version: str = ""
    max_portfolios: int | None = None
    portfolio_count: int = 0
    queue_size: float = 0.0
    cpu_usage: float = 0.0
    memory_usage: float = 0.0
    total_events: int = 0
    lag_messages: int = 0
    lag_seconds: float = 0.0
    lag: Mapping[str, tuple[int, float]] = field(default_factory=dict)
    """`topic:partition` → messages and seconds behind."""


@dataclass(frozen=True)
class Known:
    """One node as the registry remembers it."""

    node_id: str
    online: bool
    instance: str = ""
    missing_since: datetime | None = None
    ailing_since: datetime | None = None


@dataclass(frozen=True)
class RedisNow:
    """`run_id` changes at every start of the server; `uptime` is how long ago that was."""

    run_id: str
    uptime: timedelta


@dataclass(frozen=True)
class Watch:
    """What the last check left for this one."""

    run_id: str = ""
    believe_after: datetime | None = None
    silent: bool = False


@dataclass(frozen=True)
class Timing:
    """`ttl` of a heartbeat; heartbeats that vanish within `together` vanished together (one heartbeat interval)."""

    ttl: timedelta
    together: timedelta


@dataclass(frozen=True)
class Verdict:
    """`waiting` is missing but not yet believed; `doubt` says why, once, when that begins. `ailing`: since when."""

    new: tuple[str, ...] = ()
    back: tuple[str, ...] = ()
    restarted: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    waiting: tuple[str, ...] = ()
    ailing: Mapping[str, datetime] = field(default_factory=dict)
    unhealthy: frozenset[str] = frozenset()
    watch: Watch = Watch()
    doubt: str = ""

    @property
    def changed(self) -> bool:
        return bool(self.new or self.back or self.restarted or self.lost)


def judge(
    known: Iterable[Known], pulses: Mapping[str, Pulse], watch: Watch, redis: RedisNow, now: datetime, timing: Timing
) -> Verdict:
    """The verdict on every node, and the watch to keep for the next check."""
    nodes = {node.node_id: node for node in known}
    absent = [n for n in nodes.values() if n.online and n.node_id not in pulses]
    doubt = _doubt(nodes, absent, pulses, watch, redis, now, timing)
    watch = replace(watch, run_id=redis.run_id, silent=False)
    if doubt:
        watch = replace(watch, believe_after=now + timing.ttl)
    elif watch.believe_after is not None and now >= watch.believe_after:
        watch = replace(watch, believe_after=None)
    believed = watch.believe_after is None
    ailing = _ailing(nodes, pulses, now, timing)
    return Verdict(
        new=tuple(sorted(p for p in pulses if p not in nodes)),
        back=tuple(sorted(n.node_id for n in nodes.values() if not n.online and n.node_id in pulses)),
        restarted=tuple(sorted(n.node_id for n in nodes.values() if _restarted(n, pulses.get(n.node_id)))),
        lost=tuple(sorted(n.node_id for n in absent)) if believed else (),
        waiting=() if believed else tuple(sorted(n.node_id for n in absent)),
        ailing=ailing,
        unhealthy=frozenset(node_id for node_id, since in ailing.items() if now - since >= timing.ttl),
        watch=watch,
        doubt=doubt,
    )


def _doubt(
    nodes: Mapping[str, Known],
    absent: list[Known],
    pulses: Mapping[str, Pulse],
    watch: Watch,
    redis: RedisNow,
    now: datetime,
    timing: Timing,
) -> str:
    """Why missing heartbeats are not to be believed from now on; empty when nothing new speaks against them."""
    if redis.run_id != watch.run_id and (watch.run_id or redis.uptime < timing.ttl):
        return "Redis has just restarted"
    if watch.silent:
        return "Redis did not answer for a while"
    # A node that was already counted missing began its own doubt; only a fresh one may begin another.
    if not any(n.missing_since is None for n in absent):
        return ""
    gone = [n for n in nodes.values() if n.node_id not in pulses and _vanished_lately(n, now, timing)]
    present = sum(1 for node_id in pulses if node_id in nodes)
    if len(gone) >= 2 and len(gone) > present:
        return f"the heartbeats of {len(gone)} of {len(gone) + present} nodes vanished together"
    return ""


def _vanished_lately(node: Known, now: datetime, timing: Timing) -> bool:
    if node.missing_since is None:
        return node.online
    return now - node.missing_since < timing.together


def _restarted(node: Known, pulse: Pulse | None) -> bool:
    """Another process under the same id, so quick that its heartbeat was never missed."""
    return bool(node.online and pulse and pulse.instance and node.instance and pulse.instance != node.instance)


def _ailing(
    nodes: Mapping[str, Known], pulses: Mapping[str, Pulse], now: datetime, timing: Timing
) -> dict[str, datetime]:
    """Since when each node ails that says so.

    Nodes that began to ail together ail of one thing (Kafka is away). Once one of them has recovered, the others are
    about to: their time begins anew, or the first to be well would be given what all of them have.
    """
    ill = {p.node_id: _since(nodes.get(p.node_id), now) for p in pulses.values() if p.state in AILING}
    recovered = [
        n.ailing_since for n in nodes.values() if n.ailing_since is not None and n.node_id in pulses.keys() - ill.keys()
    ]
    return {
        node_id: now if any(abs(since - other) < timing.ttl for other in recovered) else since
        for node_id, since in ill.items()
    }


def _since(node: Known | None, now: datetime) -> datetime:
    return node.ailing_since if node is not None and node.ailing_since is not None else now
