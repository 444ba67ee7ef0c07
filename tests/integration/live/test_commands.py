"""Commands by both doors: each executed once, none needed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from market import topics
from market.messages import ControlCommand, Placement, ScheduleUpdate, encode
from portfolios.models import Command
from scheduler import wires
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import ALIAS, Cluster, NodeProcess

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]
Spare = Callable[[], NodeProcess]


def celery(node: NodeProcess, command_type: str, target: str, **params: Any) -> str:
    command_id = str(uuid4())
    fault = wires.send_task(
        "nodes.tasks.execute", f"node.{node.node_id}", 30.0,
        command_id=command_id, command_type=command_type, target_id=target, **params,
    )  # fmt: skip
    assert not fault
    return command_id


def kafka(cluster: Cluster, command_type: str, target: str, command_id: str = "", **params: Any) -> str:
    command = ControlCommand(
        timestamp=datetime.now(UTC), command_id=command_id or str(uuid4()), command_type=command_type,
        target_id=target, params=params,
    )  # fmt: skip
    cluster.raw(topics.CONTROL_COMMANDS, target, encode(command))
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


def test_an_unknown_command_by_kafka_is_rejected_and_a_repeated_one_executed_once(
    cluster: Cluster, node: NodeProcess
) -> None:
    unknown = kafka(cluster, "node.dance", node.node_id)
    row = eventually(lambda: fate(cluster, unknown), saying="the command rejected")
    assert (row.state, row.door) == ("rejected", "kafka")
    once = kafka(cluster, "node.enable", node.node_id)
    row = eventually(lambda: fate(cluster, once), saying="the command done")
    kafka(cluster, "node.enable", node.node_id, command_id=once)
    last = kafka(cluster, "node.enable", node.node_id)
    eventually(lambda: fate(cluster, last), saying="a later command done")
    again = fate(cluster, once)
    assert again is not None
    assert again.finished_at == row.finished_at


def test_a_command_for_somebody_else_is_not_touched(cluster: Cluster, node: NodeProcess) -> None:
    others = [kafka(cluster, "node.enable", "another-node"), kafka(cluster, "engine.start", node.node_id)]
    mine = kafka(cluster, "node.enable", node.node_id)
    eventually(lambda: fate(cluster, mine), saying="ours done")
    with cluster.db():
        assert not Command.objects.using(ALIAS).filter(command_id__in=others).exists()


def test_what_the_scheduler_moves_is_left_to_the_scheduler(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    portfolio = cluster.portfolio(config((new_code(),)), node.node_id)
    cluster.run(portfolio)
    migrate = kafka(cluster, "portfolio.migrate", portfolio, target_node="x")
    mine = kafka(cluster, "portfolio.reload", portfolio)
    eventually(lambda: fate(cluster, mine), saying="ours done")
    with cluster.db():
        assert not Command.objects.using(ALIAS).filter(command_id=migrate).exists()


def test_a_plan_wakes_the_node_it_is_for(cluster: Cluster, new_code: NewCode, node: NodeProcess) -> None:
    before = node.said().count("Plan 77:")
    for target in (node.node_id, "another"):
        plan = ScheduleUpdate(
            timestamp=datetime.now(UTC), plan_version=77, node_id=target, portfolios=[Placement(str(uuid4()), 1)]
        )
        cluster.raw(topics.SCHEDULE_UPDATES, target, encode(plan))
    eventually(lambda: node.said().count("Plan 77:") == before + 1, saying="its own plan seen")


def test_told_to_shut_down_it_stops_in_order(cluster: Cluster, spare: Spare, new_code: NewCode) -> None:
    leaving = spare()
    portfolio = cluster.portfolio(config((new_code(),)), leaving.node_id)
    cluster.run(portfolio)
    celery(leaving, "node.shutdown", leaving.node_id)
    assert leaving.process.wait(30) == 0
    assert cluster.assignment(portfolio).node_id == ""
