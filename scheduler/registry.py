"""The registry of nodes: what Redis shows now, judged, and written to the Node rows (SPEC S3, S6)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import redis
from django.conf import settings

from portfolios import livestate
from scheduler import wires
from scheduler.demand import Load, NodeOffer
from scheduler.heartbeats import NOT_ACCEPTING, Known, Pulse, RedisNow, Timing, Verdict, Watch, judge
from scheduler.models import Node, RedisWatch
from scheduler.models.node import NodeState

log = logging.getLogger(__name__)

_WATCH = "redis"
_FORGET_THE_DEAD = """
if redis.call('exists', KEYS[1]) == 0 then return redis.call('del', KEYS[2], KEYS[3], KEYS[4], KEYS[5]) end
return 0
"""
"""Only while there is no heartbeat: a node that comes back this instant keeps what it has just written."""


@dataclass(frozen=True)
class Census:
    """One look at all nodes. `live`: online, or missing and not yet believed to be lost."""

    verdict: Verdict
    pulses: dict[str, Pulse]
    offers: tuple[NodeOffer, ...]

    @property
    def live(self) -> frozenset[str]:
        return frozenset(o.node_id for o in self.offers)

    @property
    def healthy(self) -> frozenset[str]:
        return frozenset(o.node_id for o in self.offers if o.healthy)


def take_census(now: datetime) -> Census:
    """Look at every heartbeat, say what changed, and keep the Node rows in step.

    Raises redis.RedisError or livestate.RedisUnavailable when Redis does not answer: then nothing is known and nothing
    may be concluded (call `note_silence`).
    """
    client = livestate.client()
    now_redis = _redis_now(client)
    pulses = read_pulses(client)
    row, _ = RedisWatch.objects.get_or_create(name=_WATCH)
    watch = Watch(row.run_id, row.believe_after, row.silent)
    rows = {n.node_id: n for n in Node.objects.all()}
    known = [
        Known(n.node_id, n.state == NodeState.ONLINE, n.instance, n.missing_since, n.ailing_since)
        for n in rows.values()
    ]
    verdict = judge(known, pulses, watch, now_redis, now, _timing())
    if verdict.watch != watch:
        RedisWatch.objects.filter(name=_WATCH).update(
            run_id=verdict.watch.run_id, believe_after=verdict.watch.believe_after, silent=verdict.watch.silent
        )
    _say(verdict, _departed(client, verdict.lost))
    _write(rows, pulses, verdict, now)
    _forget(client, verdict.lost)
    return Census(verdict, pulses, _offers(pulses, verdict))


def why_not_accepting(node: Node) -> str:
    """The state in which it takes nothing more, by its own word or, where Redis has none of it, as last seen; or ""."""
    try:
        pulse = read_pulses(livestate.client(), [node.node_id]).get(node.node_id)
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        log.warning("Redis does not say how node %s is: %s", node.node_id, error)
        pulse = None
    if pulse is None:
        return "unhealthy" if node.ailing_since is not None else ""
    return pulse.state if pulse.state in NOT_ACCEPTING else ""


def other_spelling(node_id: str) -> str:
    """The node there is whose id differs from this one by case alone; empty if there is none, or this one is there too.

    To MySQL the two would be one node, to Redis and the planner two: what the one runs would be taken from it. Raises
    django.db.Error.
    """
    known = Node.objects.filter(node_id__iexact=node_id).values_list("node_id", flat=True)
    return "" if node_id in known else next(iter(known), "")


def note_silence() -> bool:
    """Redis did not answer: what it will say first may be the trace of its own absence. True the first time."""
    return bool(RedisWatch.objects.filter(name=_WATCH, silent=False).update(silent=True))


def read_pulses(client: redis.Redis, node_ids: Sequence[str] | None = None) -> dict[str, Pulse]:
    """Every node (of `node_ids`) with a heartbeat, with what it says about itself."""
    prefix = livestate.heartbeat_key("")
    ids = node_ids
    if ids is None:
        ids = sorted({key.removeprefix(prefix) for key in client.scan_iter(match=f"{prefix}*", count=1000)})
    pipe = client.pipeline(transaction=False)
    for node_id in ids:
        pipe.get(livestate.heartbeat_key(node_id))
        pipe.hgetall(livestate.node_info_key(node_id))
        pipe.hgetall(livestate.metrics_key(node_id))
    answers = pipe.execute() if ids else []
    found = {}
    for node_id, at, info, metrics in zip(ids, answers[::3], answers[1::3], answers[2::3], strict=True):
        if at is not None:
            found[node_id] = _pulse(node_id, at, info, metrics)
    return found


def _pulse(node_id: str, at: str, info: dict[str, str], metrics: dict[str, str]) -> Pulse:
    pid, places = _number(info.get("pid")), _number(info.get("max_portfolios"))
    return Pulse(
        node_id=node_id,
        at=at,
        instance=info.get("instance", ""),
        state=info.get("state", ""),
        host=info.get("host", ""),
        pid=None if pid is None else int(pid),
        version=info.get("version", ""),
        max_portfolios=None if places is None else int(places),
        portfolio_count=int(_number(metrics.get("portfolio_count")) or 0),
        queue_size=_number(metrics.get("queue_size")) or 0.0,
        cpu_usage=_number(metrics.get("cpu_usage")) or 0.0,
        memory_usage=_number(metrics.get("memory_usage")) or 0.0,
        total_events=int(_number(metrics.get("total_events")) or 0),
        lag_messages=int(_number(metrics.get("lag_messages")) or 0),
        lag_seconds=_number(metrics.get("lag_seconds")) or 0.0,
        lag=livestate.lag_of(metrics),
    )


def _number(text: str | None) -> float | None:
    """A field another process wrote: absent or odd counts as not said."""
    try:
        return None if text is None else float(text)
    except ValueError:
        return None


def _redis_now(client: redis.Redis) -> RedisNow:
    info = client.info("server")
    return RedisNow(str(info["run_id"]), timedelta(seconds=int(info["uptime_in_seconds"])))


def _timing() -> Timing:
    node = settings.GINKGO.node
    return Timing(timedelta(seconds=node.heartbeat_ttl), timedelta(seconds=node.heartbeat_interval))


def _departed(client: redis.Redis, lost: tuple[str, ...]) -> frozenset[str]:
    """Of the lost, those that say they stopped in order. That a key is gone says nothing: Redis may have lost it."""
    return frozenset(node_id for node_id in lost if client.exists(livestate.node_left_key(node_id)))


def _say(verdict: Verdict, departed: frozenset[str]) -> None:
    ttl = settings.GINKGO.node.heartbeat_ttl
    for node_id in verdict.new:
        log.info("Detected new ExecutionNode: %s", node_id)
    for node_id in verdict.back:
        log.info("ExecutionNode %s is back online", node_id)
    for node_id in verdict.restarted:
        log.info("ExecutionNode %s has restarted: it goes on with what it owns", node_id)
    if verdict.doubt:
        log.warning("%s: no node is declared offline before %g s have passed", verdict.doubt, ttl)
    for node_id in sorted(departed):
        log.info("ExecutionNode %s has stopped", node_id)
    for node_id in sorted(set(verdict.lost) - departed):
        log.warning("ExecutionNode %s heartbeat timeout (%gs)", node_id, ttl)
        wires.alert(
            "node_offline",
            "critical",
            f"Node {node_id} has sent no heartbeat for {ttl:g} s: its portfolios get a new owner",
            subject=node_id,
            node_id=node_id,
        )


def _write(rows: dict[str, Node], pulses: dict[str, Pulse], verdict: Verdict, now: datetime) -> None:
    Node.objects.bulk_create(
        [Node(node_id=n, state=NodeState.ONLINE, **_said(pulses[n])) for n in verdict.new], ignore_conflicts=True
    )
    for node_id, pulse in pulses.items():
        row = rows.get(node_id)
        said = _said(pulse)
        if row is not None and any(getattr(row, name) != value for name, value in said.items()):
            Node.objects.filter(node_id=node_id).update(**said)
    Node.objects.filter(node_id__in=list(pulses)).update(last_seen=now)
    Node.objects.filter(node_id__in=list(pulses)).exclude(
        state=NodeState.ONLINE, missing_since=None, offline_since=None
    ).update(state=NodeState.ONLINE, missing_since=None, offline_since=None)
    absent = [*verdict.lost, *verdict.waiting]
    if absent:
        Node.objects.filter(node_id__in=absent, missing_since=None).update(missing_since=now)
    if verdict.lost:
        Node.objects.filter(node_id__in=list(verdict.lost)).update(
            state=NodeState.OFFLINE, offline_since=now, ailing_since=None
        )
    Node.objects.filter(ailing_since__isnull=False).exclude(node_id__in=list(verdict.ailing)).update(ailing_since=None)
    for node_id, since in verdict.ailing.items():
        row = rows.get(node_id)
        if row is not None and row.ailing_since not in (None, since):
            Node.objects.filter(node_id=node_id).update(ailing_since=since)
        elif Node.objects.filter(node_id=node_id, ailing_since=None).update(ailing_since=since):
            log.warning("ExecutionNode %s says it is %s", node_id, pulses[node_id].state)


def _said(pulse: Pulse) -> dict[str, Any]:
    """The columns that a node fills itself; what it does not say (yet) stays as it is."""
    said: dict[str, Any] = {}
    if pulse.instance:
        said |= {
            "instance": pulse.instance[:64],
            "host": pulse.host[:200],
            "pid": pulse.pid,
            "version": pulse.version[:40],
        }
    if pulse.max_portfolios is not None:
        said["max_portfolios"] = max(0, pulse.max_portfolios)
    return said


def _forget(client: redis.Redis, lost: tuple[str, ...]) -> None:
    for node_id in lost:
        keys = [
            livestate.heartbeat_key(node_id),
            livestate.metrics_key(node_id),
            livestate.node_info_key(node_id),
            livestate.node_plan_key(node_id),
            livestate.node_left_key(node_id),
        ]
        client.eval(_FORGET_THE_DEAD, len(keys), *keys)


def _offers(pulses: dict[str, Pulse], verdict: Verdict) -> tuple[NodeOffer, ...]:
    offers = []
    for row in Node.objects.filter(state=NodeState.ONLINE):
        pulse = pulses.get(row.node_id)
        offers.append(
            NodeOffer(
                node_id=row.node_id,
                max_portfolios=row.room,
                labels=as_labels(row.labels),
                enabled=row.enabled,
                healthy=row.node_id not in verdict.unhealthy,
                # Without its info nothing is known of its room: its next heartbeat tells.
                accepting=pulse is not None and bool(pulse.instance) and pulse.state not in NOT_ACCEPTING,
                load=Load(pulse.queue_size, pulse.cpu_usage) if pulse else Load(),
            )
        )
    return tuple(offers)


def as_labels(value: object) -> dict[str, frozenset[str]]:
    """Labels as an operator writes them: each key with one value or a list of them."""
    if not isinstance(value, dict):
        return {}
    return {
        str(key): frozenset(map(str, item)) if isinstance(item, list | tuple) else frozenset({str(item)})
        for key, item in value.items()
    }
