"""The plan as others read it: versions in MySQL, the latest in Redis, each node's part on `schedule.updates` (S5)."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import redis

from market import topics
from market.messages import Placement, ScheduleUpdate
from portfolios import livestate
from portfolios.models import Assignment
from scheduler import wires
from scheduler.models import Plan
from scheduler.planner import Move

log = logging.getLogger(__name__)

KEEP = 10_000
"""Versions of the plan kept in MySQL."""

Placements: TypeAlias = dict[str, list[str | int]]
"""portfolio_id → [node_id, epoch]"""
Action: TypeAlias = Literal["update", "migrate"]


def placements_now() -> Placements:
    """What MySQL says: it is what happened, not what was wished."""
    rows = Assignment.objects.exclude(node_id="").order_by("portfolio_id")
    return {pid: [node_id, epoch] for pid, node_id, epoch in rows.values_list("portfolio_id", "node_id", "epoch")}


def record(moves: Sequence[Move], unplaced: Mapping[str, str], node_count: int, trigger: str) -> tuple[Plan, bool]:
    """The latest version, made anew if anything has changed since the last; whether it was."""
    last = Plan.objects.first()
    placements = placements_now()
    if last is not None and not moves and last.placements == placements and last.unplaced == dict(unplaced):
        return last, False
    plan = Plan.objects.create(
        placements=placements,
        moves=[asdict(m) for m in moves],
        unplaced=dict(unplaced),
        node_count=node_count,
        trigger=trigger[:100],
    )
    _publish(plan, _changed_nodes(last.placements if last is not None else {}, placements))
    return plan, True


def prune() -> int:
    """Forget the oldest versions beyond KEEP; how many."""
    oldest = Plan.objects.order_by("-version").values_list("version", flat=True)[KEEP : KEEP + 1].first()
    return 0 if oldest is None else Plan.objects.filter(version__lte=oldest).delete()[0]


def write_to_redis(client: redis.Redis, plan: Plan) -> None:
    """`schedule:plan` and the sets the other way round, replaced in one transaction. Raises redis.RedisError."""
    by_node: dict[str, list[str]] = {}
    for portfolio_id, (node_id, _) in plan.placements.items():
        by_node.setdefault(str(node_id), []).append(portfolio_id)
    stale = list(client.scan_iter(match=livestate.node_plan_key("*"), count=1000))
    pipe = client.pipeline(transaction=True)
    pipe.delete(livestate.PLAN, *stale)
    if plan.placements:
        pipe.hset(livestate.PLAN, mapping={pid: node_id for pid, (node_id, _) in plan.placements.items()})
    for node_id, portfolio_ids in by_node.items():
        pipe.sadd(livestate.node_plan_key(node_id), *portfolio_ids)
    pipe.hset(livestate.SCHEDULER_STATUS, mapping={"plan_version": plan.version})
    pipe.execute()


def in_redis(client: redis.Redis, plan: Plan) -> bool:
    """Whether Redis shows this version: a Redis that came back empty does not."""
    version = client.hget(livestate.SCHEDULER_STATUS, "plan_version")
    return version == str(plan.version) and bool(client.exists(livestate.PLAN)) == bool(plan.placements)


def _changed_nodes(before: Mapping[str, Sequence[str | int]], after: Placements) -> dict[str, Action]:
    """The nodes whose part is another, and whether a portfolio went from one node to another for that."""
    changed: dict[str, Action] = {}
    for portfolio_id in before.keys() | after.keys():
        old, new = before.get(portfolio_id), after.get(portfolio_id)
        if old is not None and new is not None and list(old) == list(new):
            continue
        nodes = {str(place[0]) for place in (old, new) if place is not None}
        for node_id in nodes:
            changed[node_id] = "migrate" if len(nodes) == 2 else changed.get(node_id, "update")
    return dict(sorted(changed.items()))


def _publish(plan: Plan, actions: Mapping[str, Action]) -> None:
    parts: dict[str, list[Placement]] = {node_id: [] for node_id in actions}
    for portfolio_id, (node_id, epoch) in plan.placements.items():
        if node_id in parts:
            parts[node_id].append(Placement(portfolio_id, epoch))
    for node_id, placements in parts.items():
        update = ScheduleUpdate(
            timestamp=datetime.now(UTC), plan_version=plan.version, node_id=node_id, portfolios=placements,
            action=actions[node_id],
        )  # fmt: skip
        # Kafka is away: one refusal is enough to know, and the nodes' reconcilers need none of these.
        if not wires.publish(topics.SCHEDULE_UPDATES, node_id, update):
            return
