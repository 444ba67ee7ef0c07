"""What the scheduler knows, as plain data for commands, API and status pages: read from Redis and MySQL only.

Redis being away costs the live figures, not the answer.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import redis
from django.conf import settings
from django.db.models import Count, Q, QuerySet

from portfolios import livestate
from portfolios.counting import RowCount, counts
from portfolios.models import Assignment, Command
from scheduler import beat_seed, registry
from scheduler.heartbeats import Pulse
from scheduler.models import Node, Plan, PlannedMove

log = logging.getLogger(__name__)

STALE_AFTER = 3
"""How many heartbeat checks may be missing before the scheduler counts as stopped."""


def nodes() -> list[dict[str, Any]]:
    """Every node the registry knows or Redis shows, with `heartbeat_age` in seconds (None: no heartbeat)."""
    counts = dict(
        Assignment.objects.exclude(node_id="").values("node_id").annotate(n=Count("pk")).values_list("node_id", "n")
    )
    rows = {n.node_id: n for n in Node.objects.all()}
    pulses = _pulses()
    return [_node(i, rows.get(i), pulses.get(i), counts.get(i, 0)) for i in sorted(rows.keys() | pulses.keys())]


def node(node_id: str) -> dict[str, Any] | None:
    """One of `nodes()`, with the portfolios assigned to it; None if there is no such node."""
    found = next((n for n in nodes() if n["node_id"] == node_id), None)
    if found is not None:
        rows = Assignment.objects.filter(node_id=node_id).order_by("portfolio__name")
        found["assigned"] = [
            {"portfolio_id": pid, "name": name, "epoch": epoch}
            for pid, name, epoch in rows.values_list("portfolio_id", "portfolio__name", "epoch")
        ]
    return found


def plan() -> dict[str, Any]:
    """Who runs what as of now, what is moving, and the last version's moves and unplaced portfolios."""
    last = Plan.objects.first()
    moving = {m.portfolio_id: m.target for m in PlannedMove.objects.all()}
    unplaced = dict(last.unplaced) if last else {}
    rows = Assignment.objects.select_related("portfolio").order_by("portfolio__name", "portfolio_id")
    return {
        "version": last.version if last else 0,
        "created_at": last.created_at if last else None,
        "trigger": last.trigger if last else "",
        "portfolios": [
            {
                "portfolio_id": a.portfolio_id,
                "name": a.portfolio.name,
                "desired_state": a.portfolio.desired_state,
                "status": a.portfolio.status,
                "node_id": a.node_id,
                "epoch": a.epoch,
                "moving_to": moving.get(a.portfolio_id, ""),
                "reason": unplaced.get(a.portfolio_id, a.reason),
            }
            for a in rows
        ],
        "moves": last.moves if last else [],
        "unplaced": unplaced,
    }


def history(limit: int = 100) -> list[dict[str, Any]]:
    """The latest versions of the plan, newest first, with what moved in each."""
    return [
        {
            "version": p.version,
            "created_at": p.created_at,
            "trigger": p.trigger,
            "node_count": p.node_count,
            "portfolio_count": len(p.placements),
            "moves": p.moves,
            "unplaced": p.unplaced,
        }
        for p in Plan.objects.all()[:limit]
    ]


def status() -> dict[str, Any]:
    """The scheduler's own state. `scheduler_status` is running, stopped, or unknown (Redis does not answer)."""
    try:
        raw: dict[str, str] = livestate.client().hgetall(livestate.SCHEDULER_STATUS)  # type: ignore[assignment]
        reachable = True
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.debug("Redis: %s", error)
        raw, reachable = {}, False
    facts = _facts()
    intervals = beat_seed.intervals()
    return {
        "scheduler_status": _scheduler_status(raw, reachable, intervals[beat_seed.CHECK_NAME]),
        "plan_version": facts["version"],
        "node_count": int(raw.get("node_count", 0)),
        "portfolio_count": facts["placed"],
        "unplaced_count": len(facts["unplaced"]),
        "open_moves": facts["open_moves"],
        "last_run": raw.get("last_run", ""),
        "last_check": raw.get("last_check", ""),
        "last_trigger": raw.get("last_trigger", ""),
        "believes_losses_after": raw.get("believes_losses_after", ""),
        "schedule_interval": intervals[beat_seed.TICK_NAME],
        "heartbeat_check_interval": intervals[beat_seed.CHECK_NAME],
        "host": raw.get("host", ""),
        "pid": int(raw["pid"]) if raw.get("pid", "").isdigit() else None,
    }


def command_log(limit: int = 100, target_id: str = "", node_id: str = "") -> list[dict[str, Any]]:
    """The latest commands, newest first (SPEC S7); `node_id`: those sent to this node or about it."""
    found = Command.objects.all()
    if target_id:
        found = found.filter(target_id=target_id)
    if node_id:
        found = found.filter(Q(node_id=node_id) | Q(target_id=node_id))
    return [command(c) for c in found[:limit]]


def command(row: Command) -> dict[str, Any]:
    """One command, as `command_log` has it."""
    return {
        "command_id": row.command_id,
        "command_type": row.command_type,
        "target_id": row.target_id,
        "node_id": row.node_id,
        "epoch": row.epoch,
        "state": row.state,
        "issued_by": row.issued_by,
        "door": row.door,
        "result": row.result,
        "created_at": row.created_at,
        "started_at": row.started_at,
        "finished_at": row.finished_at,
    }


def node_list(rows: Sequence[Node], assigned: Mapping[str, int]) -> list[dict[str, Any]]:
    """These nodes as `nodes()` has them; Redis is asked about them alone."""
    pulses = _pulses([row.node_id for row in rows])
    return [_node(row.node_id, row, pulses.get(row.node_id), assigned.get(row.node_id, 0)) for row in rows]


def _facts() -> dict[str, Any]:
    """version and unplaced of the last plan, how many portfolios are placed and how many moves are open: one query."""
    placed, moves = Assignment.objects.exclude(node_id=""), PlannedMove.objects.all()
    counted = Plan.objects.annotate(placed=_count(placed), open_moves=_count(moves))
    last = counted.values("version", "unplaced", "placed", "open_moves").first()
    return dict(last) if last else {"version": 0, "unplaced": {}, **counts(placed=placed, open_moves=moves)}


def _count(rows: QuerySet[Any]) -> RowCount:
    return RowCount(rows.order_by().values("pk"))


def _pulses(node_ids: Sequence[str] | None = None) -> dict[str, Pulse]:
    try:
        return registry.read_pulses(livestate.client(), node_ids)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.warning("Redis does not answer, the nodes' live figures are missing: %s", error)
        return {}


def _node(node_id: str, row: Node | None, pulse: Pulse | None, assigned: int) -> dict[str, Any]:
    live = pulse or Pulse(node_id)
    said = live.max_portfolios if live.max_portfolios is not None else 0
    return {
        "node_id": node_id,
        "state": (live.state or "online") if pulse else "offline",
        "enabled": row.enabled if row else True,
        "portfolios": live.portfolio_count,
        "assigned_count": assigned,
        "max_portfolios": row.room if row else said,
        "queue_size": live.queue_size,
        "cpu_usage": live.cpu_usage,
        "memory_usage": live.memory_usage,
        "total_events": live.total_events,
        "lag_messages": live.lag_messages,
        "lag_seconds": live.lag_seconds,
        "lag": [
            {"topic": where.rpartition(":")[0], "partition": int(where.rpartition(":")[2]), "messages": m, "seconds": s}
            for where, (m, s) in live.lag.items()
        ],
        "last_heartbeat": live.at,
        "heartbeat_age": _age(live.at),
        "labels": row.labels if row else {},
        "host": live.host or (row.host if row else ""),
        "pid": live.pid if pulse else (row.pid if row else None),
        "instance": live.instance or (row.instance if row else ""),
        "version": live.version or (row.version if row else ""),
        "offline_since": row.offline_since if row else None,
    }


def _age(at: str) -> float | None:
    """Seconds since an ISO timestamp of another process; None if it is none."""
    try:
        moment = datetime.fromisoformat(at)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (datetime.now(UTC) - moment).total_seconds())


def _scheduler_status(raw: dict[str, str], reachable: bool, check_interval: float) -> str:
    if not reachable:
        return "unknown"
    age = _age(raw.get("last_check", ""))
    interval = check_interval or settings.GINKGO.scheduler.heartbeat_check_interval
    if age is None or age > max(STALE_AFTER * interval, 5.0):
        return "stopped"
    return raw.get("scheduler_status", "stopped")
