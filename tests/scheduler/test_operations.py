"""What an operator asks for: accepted with what follows, or refused with the reason."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from redis import ConnectionError, Redis

from portfolios import command_log, livestate
from portfolios.models import Command
from portfolios.models.portfolio import DesiredState
from portfolios.ownership import Ownership, hand_over
from scheduler import cycle, operations, registry, requests, tasks
from scheduler.lease import Lease
from scheduler.models import Node, Plan, PlannedMove, Requirement, TickLease
from tests.scheduler.conftest import Herd, owner_of

pytestmark = pytest.mark.servers

Make = Callable[..., str]


@pytest.fixture
def two_nodes(herd: Herd, portfolio: Make) -> Herd:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2", places=1)
    cycle.tick()
    return herd


def test_migrating_asks_the_source(two_nodes: Herd) -> None:
    answer = operations.migrate("p1", "n2", issued_by="alice")
    assert answer.accepted
    assert (answer.source_node, answer.target_node, answer.estimated_time) == ("n1", "n2", 30)
    assert two_nodes.queue("n1")[-1]["command_type"] == "portfolio.migrate_out"
    assert PlannedMove.objects.get().reason == "asked for by alice"


def test_migrating_from_a_dead_node_happens_at_once(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "dead", 4)
    Node.objects.create(node_id="n2", state="online")
    assert operations.migrate("p1", "n2").accepted
    assert owner_of("p1") == Ownership("p1", "n2", 5)


def refused(portfolio_id: str, target: str, source: str = "") -> str:
    answer = operations.migrate(portfolio_id, target, source)
    assert not answer.accepted
    assert not PlannedMove.objects.exists()
    return answer.reason


def test_migrations_that_cannot_be_are_refused_with_the_reason(two_nodes: Herd, portfolio: Make) -> None:
    portfolio("idle", desired_state=DesiredState.STOPPED)
    portfolio("p2", "n2", 1)
    assert refused("nothing", "n2") == "there is no portfolio nothing"
    assert refused("idle", "n2") == "portfolio 'idle' is not to run: start it first"
    assert refused("p1", "n1") == "portfolio 'p1' is on n1 already"
    assert refused("p1", "n2", source="n9") == "portfolio 'p1' is on n1, not on n9"
    assert refused("p1", "n9") == "there is no node 'n9': see 'ginkgo scheduler nodes'"
    assert refused("p1", "n2") == "node n2 is full (1 of 1 places taken)"
    Node.objects.filter(node_id="n2").update(labels={"market": ["us"]})
    assert refused("p1", "n2") == "node n2 does not take market cn"
    Node.objects.filter(node_id="n2").update(enabled=False)
    assert refused("p1", "n2") == "node n2 is drained: enable it first"
    Node.objects.filter(node_id="n2").update(state="offline")
    assert refused("p1", "n2") == "node n2 is offline"


def test_portfolios_on_their_way_to_a_node_take_its_places(herd: Herd, portfolio: Make) -> None:
    for name in ("p1", "p2", "p3"):
        portfolio(name, "n1", 1)
    herd.beat("n1", places=5)
    herd.beat("n2", places=2)
    cycle.tick(threshold=10)
    assert operations.migrate("p1", "n2").accepted
    assert operations.migrate("p1", "n2").reason == "it is being moved already"
    assert operations.migrate("p2", "n2").accepted
    third = operations.migrate("p3", "n2")
    assert third.reason == "node n2 is full (2 of 2 places taken, 2 by portfolios on their way there)"
    assert PlannedMove.objects.count() == 2


def test_a_move_that_is_over_and_not_closed_yet_takes_one_place(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "n1", 1)
    portfolio("p2", "n1", 1)
    herd.beat("n1", places=5)
    herd.beat("n2", places=2)
    cycle.tick(threshold=10)
    assert operations.migrate("p1", "n2").accepted
    assert hand_over(Ownership("p1", "n1", 1), "n2", "given") is not None
    assert operations.migrate("p2", "n2").accepted


@pytest.mark.parametrize("state", ["fenced", "unhealthy", "stopping"])
def test_a_node_that_takes_nothing_more_gets_nothing_from_an_operator_either(
    herd: Herd, portfolio: Make, state: str
) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick()
    herd.beat("n2", state=state)
    assert refused("p1", "n2") == f"node n2 is {state}"


def test_what_redis_cannot_say_of_a_node_the_last_check_has_written_down(
    two_nodes: Herd, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away() -> Redis:
        raise ConnectionError("refused")

    two_nodes.beat("n2", state="unhealthy")
    cycle.check()
    monkeypatch.setattr(livestate, "client", away)
    assert refused("p1", "n2") == "node n2 is unhealthy"
    Node.objects.update(ailing_since=None)
    monkeypatch.setattr(requests, "request_settling", lambda: True)
    assert operations.migrate("p1", "n2").accepted


def test_a_requirement_binds_an_operator_too(two_nodes: Herd) -> None:
    Requirement.objects.create(portfolio_id="p1", labels={"region": "sh"})
    assert refused("p1", "n2") == "node n2 does not take market cn and region sh"


def test_draining_and_enabling(two_nodes: Herd) -> None:
    assert operations.drain("n1").accepted
    cycle.check()
    assert PlannedMove.objects.get().target == "n2"
    assert operations.enable("n1").accepted
    assert Node.objects.get(node_id="n1").enabled


def test_an_unknown_node_is_refused(db: None) -> None:
    for answer in (operations.drain("n9"), operations.enable("n9"), operations.shut_down("n9")):
        assert answer.reason == "there is no node 'n9': see 'ginkgo scheduler nodes'"


def test_shutting_down_tells_the_node(two_nodes: Herd) -> None:
    assert operations.shut_down("n2").accepted
    assert two_nodes.queue("n2")[-1]["command_type"] == "node.shutdown"
    two_nodes.leave("n2")
    cycle.check()
    assert operations.shut_down("n2").reason == "node n2 is offline"


def last_command() -> Command:
    return Command.objects.order_by("created_at").last() or Command()


def test_who_drains_and_enables_a_node_is_in_the_command_log(two_nodes: Herd) -> None:
    operations.drain("n1", "alice")
    assert (last_command().command_type, last_command().issued_by) == ("node.drain", "alice")
    operations.enable("n1", "bob")
    row = last_command()
    assert (row.command_type, row.target_id, row.issued_by, row.state) == ("node.enable", "n1", "bob", "done")
    operations.shut_down("n1")
    assert (last_command().command_type, last_command().issued_by) == ("node.shutdown", command_log.system_user())


def test_a_refused_enabling_is_no_command(db: None) -> None:
    assert not operations.enable("n9", "bob").accepted
    assert not Command.objects.exists()


def test_rebalancing_is_a_command_with_its_fate(herd: Herd, portfolio: Make) -> None:
    for name in ("p1", "p2"):
        portfolio(name, "n1", 1)
    herd.beat("n1", "n2")
    registry.take_census(datetime.now(UTC))
    assert operations.rebalance("alice").accepted
    row = last_command()
    assert (row.command_type, row.target_id, row.issued_by, row.state) == (
        "scheduler.rebalance", "scheduler", "alice", "sent",
    )  # fmt: skip
    assert tasks.rebalance(row.command_id, row.params) == "done"
    row.refresh_from_db()
    assert (row.state, row.result) == ("done", "moves begun: 1")
    assert Plan.objects.latest("version").trigger == "rebalance by alice"
    assert tasks.rebalance(row.command_id, row.params) == "repeated"


def test_a_rebalancing_waits_for_the_round_that_is_under_way_and_asks_it_for_no_other(
    herd: Herd, portfolio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("p1", "p2"):
        portfolio(name, "n1", 1)
    herd.beat("n1", "n2")
    registry.take_census(datetime.now(UTC))
    lease = Lease.acquire(datetime.now(UTC))
    assert lease is not None
    waits: list[float] = []

    def wait(seconds: float) -> bool:
        waits.append(seconds)
        return len(waits) == 3 and not lease.release()

    monkeypatch.setattr(cycle.halt, "wait", wait)
    operations.rebalance("alice")
    asked = last_command()
    assert tasks.rebalance(asked.command_id, asked.params) == "done"
    asked.refresh_from_db()
    assert asked.result == "moves begun: 1"
    assert waits == [0.2] * 3
    assert TickLease.objects.get().requested == 0


def test_a_scheduler_that_stops_lets_no_rebalancing_wait(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Lease.acquire(datetime.now(UTC)) is not None
    monkeypatch.setattr(cycle.halt, "wait", lambda _: True)
    operations.rebalance("alice")
    began = time.monotonic()
    assert tasks.rebalance(last_command().command_id, last_command().params) == "rejected"
    assert time.monotonic() - began < tasks.PATIENCE


def test_a_rebalancing_that_met_a_long_round_says_so(herd: Herd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tasks, "PATIENCE", 0.5)
    lease = Lease.acquire(datetime.now(UTC))
    assert lease is not None
    operations.rebalance("alice")
    asked = last_command()
    assert tasks.rebalance(asked.command_id, asked.params) == "rejected"
    asked.refresh_from_db()
    assert asked.result == "another round was under way: ask again"
