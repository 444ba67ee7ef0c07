"""The whole platform in one document: what `ginkgo status`, `ginkgo top` and the summary line of `ginkgo up` show.

MySQL says what is, Redis how it does; no node, engine or feed is ever asked. With Redis away what only it knows is left
empty, and `notes` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import redis
from django.db.models import Count, Q

from market.models import FencedMessage, Order
from market.models.order import OrderState
from portfolios import livestate, services
from portfolios.models import Assignment
from scheduler.models import Node
from scheduler.models.node import NodeState

FEED_IS_SILENT = 10.0
"""Seconds; a feed speaks every second."""


@dataclass(frozen=True)
class Look:
    """One look: the document, and what it could not find out."""

    document: dict[str, Any]
    notes: tuple[str, ...]


def collect() -> dict[str, Any]:
    """`{"nodes": [...], "portfolios": [...], "orders": {...}, "feed": {...}}` as of now; numbers are numbers.

    Raises django.db.DatabaseError when MySQL is away: without it nothing is known.
    """
    return look().document


def look() -> Look:
    """`collect()` with its notes."""
    now = datetime.now(UTC)
    live, notes = _read_live()
    document = {"nodes": _nodes(live), "portfolios": _portfolios(), "orders": _orders(), "feed": _feed(live.feed, now)}
    return Look(document, notes)


@dataclass(frozen=True)
class Overview:
    """What health, metrics and the admin need. `known` False: Redis did not answer; `metrics`: each node's, as it wrote
    them; `rooms`: how many portfolios each may have; `notes`: what could not be found out."""

    known: bool
    nodes: list[dict[str, Any]]
    metrics: dict[str, dict[str, str]]
    feed: dict[str, str]
    rooms: dict[str, int]
    notes: tuple[str, ...]


def overview(now: datetime) -> Overview:
    """Every node as id, state, health, enabled, threads and heartbeat_age (seconds); what the feed last said."""
    live, notes = _read_live()
    rows = {node.node_id: node for node in Node.objects.all()}
    nodes = [
        {
            "id": node_id,
            "state": _state(live.infos.get(node_id, {}), live.heartbeats.get(node_id), live.known, rows.get(node_id)),
            "health": _health(live.infos.get(node_id, {}), live.heartbeats.get(node_id)),
            "enabled": rows[node_id].enabled if node_id in rows else True,
            "threads": _whole(live.metrics.get(node_id, {}).get("threads")),
            "heartbeat_age": age_of(live.heartbeats.get(node_id), now),
        }
        for node_id in sorted({*rows, *live.heartbeats})
    ]
    rooms = {node_id: row.room for node_id, row in rows.items()}
    return Overview(live.known, nodes, live.metrics, live.feed, rooms, notes)


@dataclass(frozen=True)
class _Live:
    """What Redis holds; `known` False: it did not answer."""

    known: bool
    heartbeats: dict[str, str]
    infos: dict[str, dict[str, str]]
    metrics: dict[str, dict[str, str]]
    feed: dict[str, str]


def _read_live() -> tuple[_Live, tuple[str, ...]]:
    try:
        client = livestate.client(timeout=1.0)
        prefix = livestate.heartbeat_key("")
        ids = sorted(key.removeprefix(prefix) for key in client.scan_iter(match=f"{prefix}*", count=1000))
        pipe = client.pipeline(transaction=False)
        pipe.hgetall(livestate.FEED_STATUS)
        for node_id in ids:
            pipe.get(livestate.heartbeat_key(node_id))
            pipe.hgetall(livestate.node_info_key(node_id))
            pipe.hgetall(livestate.metrics_key(node_id))
        feed, *answers = pipe.execute()
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        note = f"Redis does not answer, so nodes and feed are not known as of now: {error}"
        return _Live(False, {}, {}, {}, {}), (note,)
    beats = {node_id: at for node_id, at in zip(ids, answers[::3], strict=True) if at is not None}
    return _Live(
        True, beats, dict(zip(ids, answers[1::3], strict=True)), dict(zip(ids, answers[2::3], strict=True)), feed
    ), ()


def _nodes(live: _Live) -> list[dict[str, Any]]:
    """Every node that MySQL or Redis knows, by id. `portfolios` it owns, `running` it says it runs."""
    rows = {node.node_id: node for node in Node.objects.all()}
    counts = Assignment.objects.exclude(node_id="").values_list("node_id").annotate(Count("portfolio")).order_by()
    owned = dict(counts)
    return [
        _node(node_id, rows.get(node_id), live, owned.get(node_id, 0))
        for node_id in sorted({*rows, *live.heartbeats, *owned})
    ]


def _node(node_id: str, row: Node | None, live: _Live, owned: int) -> dict[str, Any]:
    info, metrics = live.infos.get(node_id, {}), live.metrics.get(node_id, {})
    beat = live.heartbeats.get(node_id)
    seen = row.last_seen.isoformat() if row is not None and row.last_seen is not None else None
    return {
        "id": node_id,
        "state": _state(info, beat, live.known, row),
        "health": _health(info, beat),
        "enabled": row.enabled if row is not None else True,
        "portfolios": owned,
        "running": _whole(metrics.get("portfolio_count")),
        "max_portfolios": row.room if row is not None else _whole(info.get("max_portfolios")),
        "queue_size": _number(metrics.get("queue_size")),
        "cpu": _number(metrics.get("cpu_usage")),
        "memory_mb": _number(metrics.get("memory_usage")),
        "events": _whole(metrics.get("total_events")),
        "lag_messages": _whole(metrics.get("lag_messages")),
        "lag_seconds": _number(metrics.get("lag_seconds")),
        "last_heartbeat": beat or seen,
        "host": info.get("host") or (row.host if row is not None else ""),
        "pid": _whole(info.get("pid")) if info else (row.pid if row is not None else None),
    }


def _state(info: Mapping[str, str], beat: str | None, known: bool, row: Node | None) -> str:
    """The node's own word while its heart beats; the scheduler's word without one; unknown without Redis."""
    if beat is not None:
        return info.get("state") or NodeState.ONLINE
    if not known:
        return "unknown"
    if row is not None and row.state == NodeState.ONLINE:
        return "missing"
    return NodeState.OFFLINE


def _health(info: Mapping[str, str], beat: str | None) -> str:
    """What the node says keeps it from trading; nothing while it is well, or has no heart."""
    said = info.get("health", "") if beat is not None else ""
    return "" if said == "well" else said


def _portfolios() -> list[dict[str, Any]]:
    return [
        {
            "id": found["id"],
            "name": found["name"],
            "status": found["status"],
            "node_id": found["node_id"],
            "epoch": found["epoch"],
            "cash": float(found["cash"]),
            "total_value": float(found["total_value"]),
        }
        for found in services.list_portfolios()
    ]


def _orders() -> dict[str, int]:
    counts = Order.objects.aggregate(
        submitted=Count("order_id"),
        filled=Count("order_id", filter=Q(state=OrderState.FILLED)),
        rejected=Count("order_id", filter=Q(state=OrderState.REJECTED)),
    )
    return {**counts, "fenced": FencedMessage.objects.count()}


def _feed(status: Mapping[str, str], now: datetime) -> dict[str, Any]:
    """`messages` published since the feed began, `per_second` of late, `event_time` of the newest."""
    age = age_of(status.get("updated_at"), now)
    silent = age is None or age > FEED_IS_SILENT
    return {
        "messages": _whole(status.get("messages")) or 0,
        # A feed that was killed cannot take its last word back.
        "per_second": 0.0 if silent else _number(status.get("per_second")) or 0.0,
        "event_time": status.get("event_time") or None,
    }


def age_of(moment: str | None, now: datetime) -> float | None:
    """Seconds since an RFC 3339 moment; None for none, or for one that cannot be read."""
    if not moment:
        return None
    try:
        at = datetime.fromisoformat(moment)
    except ValueError:
        return None
    return (now - (at if at.tzinfo else at.replace(tzinfo=UTC))).total_seconds()


def _number(text: str | None) -> float | None:
    """What another process wrote: absent or odd counts as not said."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _whole(text: str | None) -> int | None:
    number = _number(text)
    return None if number is None else int(number)
