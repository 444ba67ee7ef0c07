"""Commands by both doors: each executed once, none needed."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
import redis

from market import topics
from market.messages import ControlCommand, Placement, ScheduleUpdate, encode
from portfolios.models import Checkpoint, Command
from scheduler import wires
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import ALIAS, Cluster, NodeProcess
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]
Spare = Callable[[], NodeProcess]


def celery(node: NodeProcess, command_type: str, target: str, queue: str = "", **params: Any) -> str:
    command_id = str(uuid4())
    fault = wires.send_task(
        "nodes.tasks.execute", queue or f"node.{node.node_id}", 30.0,
        command_id=command_id, command_type=command_type, target_id=target, **params,
    )  # fmt: skip
    assert not fault
    return command_id


def kafka(
    cluster: Cluster, command_type: str, target: str, /, command_id: str = "", age: float = 0.0,
    topic: str = topics.CONTROL_COMMANDS, **params: Any,
) -> str:  # fmt: skip
    command = ControlCommand(
        timestamp=datetime.now(UTC) - timedelta(seconds=age), command_id=command_id or str(uuid4()),
        command_type=command_type, target_id=target, params=params,
    )  # fmt: skip
    cluster.raw(topic, target, encode(command))
    return command.command_id


def fate(cluster: Cluster, command_id: str) -> Command | None:
    with cluster.db():
        row = Command.objects.using(ALIAS).filter(command_id=command_id).first()
    return row if row is not None and row.finished_at is not None else None


def test_asked_to_migrate_the_source_hands_over_with_its_last_checkpoint(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    start = cluster.run(portfolio)
    end = cluster.publish([tick(n, code) for n in range(30)])
    command = celery(node, "portfolio.migrate_out", portfolio, epoch=1, params={"target": "target"})
    row = eventually(lambda: fate(cluster, command), saying="the command done")
    assert (row.state, row.result) == ("done", "handed over to target")
    owner = cluster.assignment(portfolio)
    assert (owner.node_id, owner.epoch) == ("target", 2)
    assert cluster.checkpoint(portfolio).epoch == 2
    assert cluster.offset(portfolio, code) in range(start, end + 1)
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)


def test_a_command_of_another_epoch_changes_nothing(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    portfolio = cluster.portfolio(config((new_code(),)), node.node_id)
    cluster.run(portfolio)
    command = celery(node, "portfolio.migrate_out", portfolio, epoch=7, params={"target": "target"})
    row = eventually(lambda: fate(cluster, command), saying="the command done")
    assert row.result == "not run here at this epoch"
    assert cluster.assignment(portfolio).epoch == 1


def test_by_kafka_an_unknown_command_is_rejected_and_a_repeated_one_executed_once(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    portfolio = cluster.portfolio(config((new_code(),)), node.node_id)
    cluster.run(portfolio)
    unknown = kafka(cluster, "node.dance", node.node_id)
    row = eventually(lambda: fate(cluster, unknown), saying="the command rejected")
    assert (row.state, row.door) == ("rejected", "kafka")
    once = kafka(cluster, "portfolio.reload", portfolio)
    row = eventually(lambda: fate(cluster, once), saying="the command done")
    kafka(cluster, "portfolio.reload", portfolio, command_id=once)
    # The other topic's door leads to the same place.
    last = kafka(cluster, "portfolio.reload", portfolio, topic=topics.SCHEDULE_UPDATES)
    eventually(lambda: fate(cluster, last), saying="a later command done")
    again = fate(cluster, once)
    assert again is not None
    assert again.finished_at == row.finished_at


def test_a_command_that_is_late_or_of_an_epoch_that_is_over_is_refused(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    portfolio = cluster.portfolio(config((new_code(),)), node.node_id)
    cluster.assign(portfolio, node.node_id)
    cluster.run(portfolio)
    late = kafka(cluster, "portfolio.reload", portfolio, age=40)
    stale = kafka(cluster, "portfolio.migrate_out", portfolio, epoch=1, target="elsewhere")
    rows = [eventually(lambda one=one: fate(cluster, one), saying="it judged") for one in (late, stale)]
    assert [row.state for row in rows] == ["expired", "rejected"]
    assert cluster.assignment(portfolio).node_id == node.node_id


def test_commands_for_somebody_else_are_not_touched(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    portfolio = cluster.portfolio(config((new_code(),)), node.node_id)
    cluster.run(portfolio)
    others = [
        kafka(cluster, "node.shutdown", "another-node"),
        kafka(cluster, "engine.start", node.node_id),
        kafka(cluster, "node.drain", node.node_id),
        kafka(cluster, "portfolio.stop", portfolio),
        kafka(cluster, "portfolio.migrate", portfolio, target_node="x"),
    ]
    mine = kafka(cluster, "portfolio.reload", portfolio)
    eventually(lambda: fate(cluster, mine), saying="ours done")
    with cluster.db():
        assert not Command.objects.using(ALIAS).filter(command_id__in=others).exists()


def test_a_broker_killed_flushed_and_replayed_changes_nothing_in_the_end(
    cluster: Cluster, node: NodeProcess, new_code: NewCode, stack: RunningStack
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    start = cluster.run(portfolio)
    copies = f"copies-{uuid4()}"
    wanted = [
        ("portfolio.migrate_out", {"epoch": 7, "params": {"target": "elsewhere"}}),
        ("portfolio.stop", {"epoch": 1}),
        ("portfolio.start", {"epoch": 1}),
        ("portfolio.reload", {"epoch": 1}),
    ]
    ids = [celery(node, kind, portfolio, queue=copies, **more) for kind, more in wanted]
    messages = [as_for(node, raw) for raw in cluster.redis.lrange(copies, 0, -1)]  # type: ignore[union-attr]
    queue = f"node.{node.node_id}"
    cluster.redis.lpush(queue, *messages, *reversed(messages), *messages)
    rows = {one: eventually(lambda one=one: fate(cluster, one), saying="each executed") for one in ids}
    end = cluster.publish([tick(n, code) for n in range(20)])
    # One that waits in the worker, unacknowledged: with it Celery 5.7 ends when its connection is lost.
    cluster.redis.lpush(queue, as_for(node, messages[0], eta=datetime.now(UTC) + timedelta(hours=1)))
    eventually(lambda: cluster.redis.hlen("unacked") == 1, saying="the waiting one taken")

    server = stack.processes().get("valkey")
    if server is not None:  # a given one is not ours to kill
        os.kill(server, signal.SIGKILL)
        eventually(lambda: answers(cluster.redis), timeout=30, saying="its successor")
    cluster.redis.flushdb()
    cluster.redis.lpush(queue, *reversed(messages), *messages)
    last = celery(node, "portfolio.reload", portfolio, epoch=1)
    eventually(lambda: fate(cluster, last), timeout=60, saying="Celery delivers as before")

    assert {one: fate(cluster, one).finished_at for one in ids} == {one: r.finished_at for one, r in rows.items()}  # type: ignore[union-attr]
    eventually(lambda: node.info() == "running", saying="its lease renewed")
    owner = cluster.assignment(portfolio)
    assert (owner.node_id, owner.epoch, cluster.status(portfolio)) == (node.node_id, 1, "running")
    eventually(lambda: cluster.offset(portfolio, code) >= end, saying="all applied")
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)


def as_for(node: NodeProcess, raw: str, eta: datetime | None = None) -> str:
    """A message of Celery's, as it lies in the queue, for this node's queue."""
    message = json.loads(raw)
    if eta is not None:
        message["headers"]["eta"] = eta.isoformat()
    message["properties"]["delivery_info"]["routing_key"] = f"node.{node.node_id}"
    message["headers"]["expires"] = None
    return json.dumps(message)


def answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False


def test_a_plan_wakes_the_node_it_is_for(cluster: Cluster, new_code: NewCode, node: NodeProcess) -> None:
    before = node.said().count("Plan 77:")
    for target in (node.node_id, "another"):
        plan = ScheduleUpdate(
            timestamp=datetime.now(UTC), plan_version=77, node_id=target, portfolios=[Placement(str(uuid4()), 1)]
        )
        cluster.raw(topics.SCHEDULE_UPDATES, target, encode(plan))
    eventually(lambda: node.said().count("Plan 77:") == before + 1, saying="its own plan seen")


def test_started_again_when_its_trouble_is_mended_a_portfolio_leaves_its_error(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    """What was mended is neither its epoch nor its version: by itself the node has no reason to try again."""
    portfolio = cluster.portfolio(config((new_code(),)))
    with cluster.db():
        Checkpoint.objects.using(ALIAS).filter(portfolio_id=portfolio).update(state=b"torn")
    epoch = cluster.assign(portfolio, node.node_id)
    eventually(lambda: cluster.status(portfolio) == "error", timeout=20, saying="its checkpoint cannot be read")
    with cluster.db():
        Checkpoint.objects.using(ALIAS).filter(portfolio_id=portfolio).update(state=b"")
    done = cluster.stack.run("portfolio", "start", portfolio)
    assert done.returncode == 0, done.stderr
    cluster.run(portfolio)
    assert cluster.assignment(portfolio).epoch == epoch, "it never had another owner"


def test_told_to_shut_down_it_stops_in_order(cluster: Cluster, spare: Spare, new_code: NewCode) -> None:
    leaving = spare()
    portfolio = cluster.portfolio(config((new_code(),)), leaving.node_id)
    cluster.run(portfolio)
    celery(leaving, "node.shutdown", leaving.node_id)
    assert leaving.process.wait(30) == 0
    assert cluster.assignment(portfolio).node_id == ""
