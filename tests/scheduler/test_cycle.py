"""The round on a real Redis, Kafka and database: nodes come and go, portfolios follow."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime

import pytest

from ginkgo_site.config_model import Scheduler
from portfolios import livestate, loads
from portfolios.loads import Measured
from portfolios.models import Assignment, Checkpoint, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from portfolios.ownership import Ownership, hand_over
from scheduler import (
    assignments,
    commands,
    cycle,
    handover,
    moves,
    plan_store,
    planner,
    registry,
    staleness,
)
from scheduler.lease import Lease
from scheduler.models import Node, Plan, PlannedMove, Requirement, TickLease
from tests.scheduler.conftest import Clock, Herd, owner_of

pytestmark = pytest.mark.servers

Make = Callable[..., str]


def kinds(herd: Herd, node_id: str) -> list[tuple[str, str]]:
    return [(c["command_type"], c["target_id"]) for c in herd.queue(node_id)]


def test_a_new_node_gets_the_waiting_portfolios_in_the_same_round(
    herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture
) -> None:
    portfolio("p1")
    herd.beat("n1")
    with caplog.at_level(logging.INFO):
        cycle.tick()
    assert owner_of("p1") == Ownership("p1", "n1", 1)
    assert Checkpoint.objects.get(portfolio_id="p1").epoch == 1
    assert kinds(herd, "n1") == [("portfolio.start", "p1")]
    assert herd.queue("n1")[0]["epoch"] == 1
    assert "Detected new ExecutionNode: n1" in caplog.text
    assert "Assigning Portfolios to available nodes..." in caplog.text


def test_a_heartbeat_check_places_too_when_something_is_astray(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1")
    assert cycle.check().moves == 1


def test_a_second_round_changes_nothing(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1", "n2")
    cycle.tick()
    before = owner_of("p1")
    assert cycle.tick().moves == 0
    assert owner_of("p1") == before
    assert Plan.objects.count() == 1


def test_a_dead_nodes_portfolios_get_a_new_owner_and_its_keys_are_cleaned(
    herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture
) -> None:
    portfolio("p1", "n1", 4)
    herd.beat("n1", "n2")
    cycle.tick()
    herd.die("n1")
    herd.beat("n2")
    with caplog.at_level(logging.INFO):
        cycle.check()
    assert owner_of("p1") == Ownership("p1", "n2", 5)
    assert kinds(herd, "n2") == [("portfolio.migrate_in", "p1")]
    assert not herd.redis.exists(livestate.metrics_key("n1"), livestate.node_info_key("n1"))
    assert Node.objects.get(node_id="n1").state == "offline"
    for line in (
        "ExecutionNode n1 heartbeat timeout (30s)",
        "node_offline: Node n1",
        "Triggering Portfolio migration from n1 to n2",
        "Portfolio p1 migrated successfully",
        "Migration completed in",
    ):
        assert line in caplog.text


def test_every_check_looks_at_all_assignments_whatever_happened_before(herd: Herd, portfolio: Make) -> None:
    """A hand-over missed long ago, by a scheduler killed between two, is made up for."""
    portfolio("p1", "forgotten", 2)
    herd.beat("n1")
    cycle.tick()
    assert owner_of("p1").node_id == "n1"


def test_without_room_elsewhere_a_dead_nodes_portfolio_keeps_its_owner(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "n1", 4)
    herd.beat("n1")
    cycle.tick()
    herd.die("n1")
    assert cycle.check().unplaced == 1
    assert owner_of("p1") == Ownership("p1", "n1", 4)
    assert "n1 is offline; no node is online" in Plan.objects.first().unplaced["p1"]


def test_a_node_that_stopped_in_order_is_no_alert(
    herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture
) -> None:
    herd.beat("n1", "n2")
    cycle.tick()
    herd.leave("n1")
    with caplog.at_level(logging.INFO):
        cycle.check()
    assert "ExecutionNode n1 has stopped" in caplog.text
    assert "timeout" not in caplog.text
    assert not herd.redis.exists(livestate.node_left_key("n1"))


@pytest.mark.parametrize("hosting", [True, False])
def test_a_node_that_dies_while_redis_loses_its_data_is_an_alert_all_the_same(
    herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture, hosting: bool
) -> None:
    if hosting:
        portfolio("p1", "n1", 4)
    herd.beat("n1", "n2")
    cycle.tick()
    herd.redis.flushdb()
    herd.beat("n2")
    with caplog.at_level(logging.INFO):
        cycle.check()
    assert "node_offline: Node n1" in caplog.text
    assert "has stopped" not in caplog.text
    if hosting:
        assert owner_of("p1") == Ownership("p1", "n2", 5)


def test_a_returning_node_gets_its_share_back(herd: Herd, portfolio: Make, caplog: pytest.LogCaptureFixture) -> None:
    Node.objects.create(node_id="n1", state="offline")
    for i in range(4):
        portfolio(f"p{i}", "n2", 1)
    herd.beat("n2")
    cycle.tick()
    herd.beat("n1")
    with caplog.at_level(logging.INFO):
        cycle.check()
    assert "ExecutionNode n1 is back online" in caplog.text
    assert "Rebalancing Portfolio assignments..." in caplog.text
    assert PlannedMove.objects.filter(source="n2", target="n1").count() == 2


def test_most_heartbeats_gone_at_once_wait_one_ttl(herd: Herd, portfolio: Make, clock: Clock) -> None:
    for i, node_id in enumerate(("n1", "n2", "n3")):
        portfolio(f"p{i}", node_id, 1)
    herd.beat("n1", "n2", "n3")
    cycle.tick(clock=clock)
    herd.die("n1", "n2")
    cycle.check(clock)
    assert owner_of("p0") == Ownership("p0", "n1", 1)
    clock.forward(29)
    cycle.check(clock)
    assert owner_of("p0").node_id == "n1"
    clock.forward(2)
    cycle.check(clock)
    assert (owner_of("p0").node_id, owner_of("p1").node_id) == ("n3", "n3")


def test_a_redis_that_came_back_empty_is_no_mass_death_and_gets_its_keys_back(
    herd: Herd, portfolio: Make, clock: Clock
) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    herd.redis.flushdb()
    registry.note_silence()
    herd.beat("n2")
    clock.forward(5)
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n1", 1)
    assert herd.redis.hgetall(livestate.PLAN) == {"p1": "n1"}
    assert herd.redis.smembers(livestate.node_plan_key("n1")) == {"p1"}
    assert herd.redis.hget(livestate.SCHEDULER_STATUS, "scheduler_status") == "running"


def test_a_fenced_node_loses_its_portfolios_after_one_ttl(herd: Herd, portfolio: Make, clock: Clock) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", state="fenced")
    herd.beat("n2")
    cycle.tick(clock=clock)
    assert owner_of("p1").node_id == "n1"
    clock.forward(31)
    cycle.check(clock)
    assert owner_of("p1") == Ownership("p1", "n2", 2)


def test_a_stopping_node_is_given_nothing(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1", state="stopping")
    assert cycle.tick().unplaced == 1


def test_a_portfolio_without_a_place_is_an_alert_only_when_that_lasts(
    herd: Herd, portfolio: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    portfolio("homeless")
    with caplog.at_level(logging.INFO):
        cycle.tick(clock=clock)
        assert "Portfolio homeless waits: nobody has it; no node is online" in caplog.text
        assert "unplaced:" not in caplog.text
        clock.forward(31)
        cycle.check(clock)
    assert "unplaced: Portfolio homeless cannot be placed" in caplog.text


def test_a_portfolio_that_shall_stop_is_told_so_once(herd: Herd, portfolio: Make, clock: Clock) -> None:
    portfolio("p1", "n1", 3, desired_state=DesiredState.STOPPED, status=Status.RUNNING)
    herd.beat("n1")
    cycle.tick(clock=clock)
    cycle.tick(clock=clock)
    assert kinds(herd, "n1") == [("portfolio.stop", "p1")]
    assert owner_of("p1").node_id == "n1", "the node gives it back itself"


def test_the_place_of_a_portfolio_that_shall_stop_is_given_away_when_its_node_has_given_it_back(
    herd: Herd, portfolio: Make
) -> None:
    portfolio("p1", "n1", 3, desired_state=DesiredState.STOPPED, status=Status.RUNNING)
    portfolio("p2")
    herd.beat("n1", places=1)
    assert cycle.tick().unplaced == 1
    assert Plan.objects.first().unplaced == {
        "p2": "nobody has it; every node that takes market cn is full (1 of 1 places taken)"
    }
    assert cycle.check().unplaced == 1, "it is looked at again and again"
    assert hand_over(owner_of("p1"), "", "stopped by its user")
    assert cycle.check().moves == 1, "the next check gives it away, not only the next full round"
    assert owner_of("p2") == Ownership("p2", "n1", 1)


def test_a_stopped_portfolio_of_a_dead_node_is_released(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "dead", 3, desired_state=DesiredState.STOPPED, status=Status.RUNNING)
    herd.beat("n1")
    cycle.tick()
    assert owner_of("p1") == Ownership("p1", "", 4)
    assert Portfolio.objects.get(id="p1").status == Status.STOPPED


def test_a_drained_node_is_asked_to_hand_its_portfolios_over(herd: Herd, portfolio: Make) -> None:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick()
    Node.objects.filter(node_id="n1").update(enabled=False)
    cycle.check()
    assert owner_of("p1").node_id == "n1", "only the source, or the deadline, ends its ownership"
    assert kinds(herd, "n1") == [("portfolio.migrate_out", "p1")]
    assert herd.queue("n1")[0]["params"]["target"] == "n2"


def test_what_an_operator_requires_of_a_node_is_respected(herd: Herd, portfolio: Make) -> None:
    Requirement.objects.create(portfolio_id=portfolio("p1"), labels={"region": "sh"})
    herd.beat("n1", "n2")
    cycle.tick()
    assert owner_of("p1").node_id == ""
    Node.objects.filter(node_id="n2").update(labels={"region": ["sh"]})
    cycle.check()
    assert owner_of("p1").node_id == "n2"


def test_the_operators_capacity_beats_the_nodes_own(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1")
    Node.objects.create(node_id="n1", capacity=0)
    assert cycle.tick().unplaced == 1


def test_a_round_while_another_holds_the_lease_is_done_by_its_holder(herd: Herd, portfolio: Make, clock: Clock) -> None:
    lease = Lease.acquire(clock())
    assert lease is not None
    assert cycle.tick(clock=clock).result == cycle.BUSY
    assert not lease.release(), "the holder learns that it has to go round again"
    assert lease.release()
    assert cycle.tick(clock=clock).result == cycle.DONE


def test_a_round_after_which_another_was_asked_for_says_what_it_did_itself(
    herd: Herd, portfolio: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("p1", "p2"):
        portfolio(name, "n1", 1)
    herd.beat("n1", "n2")
    look = registry.take_census
    rounds: list[datetime] = []

    def ask_meanwhile(now: datetime) -> registry.Census:
        rounds.append(now)
        if len(rounds) == 1:
            Lease.ask_holder_to_go_round_again()
        return look(now)

    monkeypatch.setattr(registry, "take_census", ask_meanwhile)
    outcome = cycle.tick()
    assert len(rounds) == 2
    assert (outcome.moves, outcome.open_moves) == (1, 1)


def test_the_lease_of_a_frozen_holder_passes_on(herd: Herd, clock: Clock) -> None:
    frozen = Lease.acquire(clock())
    assert frozen is not None
    clock.forward(21)
    assert cycle.tick(clock=clock).result == cycle.DONE
    frozen._prolong_at = 0.0
    assert not frozen.still_held(clock())


def test_the_lease_of_one_who_died_with_a_clock_minutes_ahead_passes_on(herd: Herd, clock: Clock) -> None:
    clock.forward(600)
    assert Lease.acquire(clock()) is not None
    clock.forward(-600)
    assert cycle.tick(clock=clock).result == cycle.DONE


def test_a_frozen_round_that_wakes_late_moves_nothing_that_was_moved_meanwhile(
    herd: Herd, portfolio: Make, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    portfolio("p1", "dead", 1)
    portfolio("p2", "dead", 1)
    herd.beat("n1")
    stale = assignments.read()
    moves = planner.plan(stale.demands, registry.take_census(clock()).offers, stale.current(), max_moves=5, threshold=2)
    # The freeze: another scheduler does the same in the meantime, and p1 goes on to yet another owner.
    cycle.tick(clock=clock)
    assert hand_over(owner_of("p1"), "elsewhere", "test")
    with caplog.at_level(logging.INFO):
        done, held = assignments.apply(moves.moves, stale, lambda: True, clock())
    assert (done, held) == ([], True)
    assert owner_of("p1") == Ownership("p1", "elsewhere", 3)
    assert owner_of("p2") == Ownership("p2", "n1", 2)
    assert "has another owner by now" in caplog.text


def test_a_round_that_has_lost_its_lease_leaves_the_rest(herd: Herd, portfolio: Make, clock: Clock) -> None:
    for name in ("p1", "p2", "p3"):
        portfolio(name)
    herd.beat("n1")
    registry.take_census(clock())
    holdings = assignments.read()
    moves = planner.plan(holdings.demands, registry.take_census(clock()).offers, {}, max_moves=5, threshold=2).moves
    answers = iter([True, False])
    done, held = assignments.apply(moves, holdings, lambda: next(answers), clock())
    assert (len(done), held) == (1, False)
    assert Assignment.objects.exclude(node_id="").count() == 1
    cycle.tick(clock=clock)
    assert Assignment.objects.filter(node_id="n1", epoch=1).count() == 3


class Killed(BaseException):
    """As kill -9: nothing handles it."""


STEPS: list[tuple[object, str]] = [
    (registry, "take_census"),
    (registry, "_forget"),
    (moves, "settle"),
    (assignments, "stop_unwanted"),
    (handover, "hand_over"),
    (commands.Command.objects, "create"),
    (moves, "begin"),
    (plan_store, "record"),
    (plan_store, "_publish"),
    (plan_store, "write_to_redis"),
    (commands, "sweep"),
    (staleness, "check"),
]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("step", STEPS, ids=[name for _, name in STEPS])
def test_killed_at_any_step_the_next_scheduler_ends_in_the_same_place(
    step: tuple[object, str],
    after: bool,
    herd: Herd,
    portfolio: Make,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    portfolio("new")
    portfolio("orphan", "dead", 4)
    portfolio("leaving", "drained", 2)
    portfolio("unwanted", "dead", 7, desired_state=DesiredState.STOPPED, status=Status.RUNNING)
    Node.objects.create(node_id="dead", state="online", instance="first")
    Node.objects.create(node_id="drained", state="online", instance="first", enabled=False)
    herd.beat("n1", "n2", "drained")

    place, name = step
    real = getattr(place, name)

    def dying(*arguments: object, **named: object) -> None:
        if after:
            real(*arguments, **named)
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(place, name, dying)
        patch.setattr(Lease, "give_up", lambda _: None)
        with pytest.raises(Killed):
            cycle.tick(clock=clock)

    assert cycle.tick(clock=clock).result == cycle.BUSY, "the dead one's lease lasts"
    clock.forward(21)
    assert cycle.tick(clock=clock).result == cycle.DONE
    assert owner_of("new").node_id in ("n1", "n2")
    assert owner_of("orphan").node_id in ("n1", "n2")
    assert {name: owner_of(name).epoch for name in ("new", "orphan", "leaving", "unwanted")} == {
        "new": 1, "orphan": 5, "leaving": 2, "unwanted": 8,
    }  # fmt: skip
    assert owner_of("unwanted").node_id == ""
    move = PlannedMove.objects.get()
    assert (move.portfolio_id, move.source, move.epoch) == ("leaving", "drained", 2)
    shown = {pid: owner_of(pid).node_id for pid in ("new", "orphan", "leaving")}
    assert {pid: place[0] for pid, place in Plan.objects.first().placements.items()} == shown
    assert herd.redis.hgetall(livestate.PLAN) == shown
    assert Node.objects.get(node_id="dead").state == "offline"


def test_measured_loads_decide_and_those_of_portfolios_that_are_no_more_are_forgotten(
    herd: Herd, portfolio: Make
) -> None:
    portfolio("big", "n1", 1)
    portfolio("p1")
    portfolio("p2")
    loads.write(herd.redis, {"big": Measured(rate=5000.0, cpu=10.0), "deleted": Measured(rate=1.0)})
    herd.beat("n1", "n2")
    cycle.tick()
    assert {name: owner_of(name).node_id for name in ("big", "p1", "p2")} == {"big": "n1", "p1": "n2", "p2": "n2"}
    (first, *_) = Plan.objects.get().moves
    assert "n2 is the least loaded: load 0.0 (0 portfolios, 0 events/s, CPU 0 %, queue 0)" in first["reason"]
    assert loads.read(herd.redis).keys() == {"big"}


def test_one_that_was_never_measured_is_reckoned_by_its_codes_as_others_were(herd: Herd, portfolio: Make) -> None:
    portfolio("known", "n1", 1)
    portfolio("unknown")
    Portfolio.objects.filter(id="known").update(config={"codes": ["600519.SH", "000001.SZ"]})
    measured = {"known": Measured(rate=800.0)}
    rates = {d.id: d.rate for d in assignments.read(measured).demands}
    assert rates == {"known": 800.0, "unknown": 400.0}
    assert {d.rate for d in assignments.read().demands} == {2.0, 1.0}


def test_by_default_a_new_node_is_looked_for_often_enough_to_be_seen_within_ten_seconds() -> None:
    assert Scheduler().heartbeat_check_interval <= 5


def test_the_lease_is_free_after_a_round(herd: Herd) -> None:
    cycle.tick()
    assert TickLease.objects.get().holder == ""


def test_the_plan_is_versioned_published_and_shown(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    portfolio("p2")
    herd.beat("n1", "n2")
    cycle.tick("test")
    plan = Plan.objects.get()
    assert plan.placements == {p: [owner_of(p).node_id, 1] for p in ("p1", "p2")}
    assert plan.trigger == "test"
    assert {m["portfolio_id"] for m in plan.moves} == {"p1", "p2"}
    assert all(m["reason"] for m in plan.moves)
    assert herd.redis.hgetall(livestate.PLAN) == {p: owner_of(p).node_id for p in ("p1", "p2")}
    status = herd.redis.hgetall(livestate.SCHEDULER_STATUS)
    assert status["plan_version"] == str(plan.version)
    assert (status["node_count"], status["portfolio_count"]) == ("2", "2")


def test_a_nodes_own_new_epoch_makes_a_new_version(herd: Herd, portfolio: Make) -> None:
    portfolio("p1")
    herd.beat("n1")
    cycle.tick()
    assert hand_over(owner_of("p1"), "n1", "n1 has started anew")
    herd.beat("n1", instance="second")
    cycle.check()
    assert Plan.objects.first().placements == {"p1": ["n1", 2]}
    assert Plan.objects.count() == 2


def test_when_kafka_is_away_from_all_nodes_nothing_moves_nor_when_it_comes_back(
    herd: Herd, portfolio: Make, clock: Clock
) -> None:
    portfolio("p1", "n1", 4)
    portfolio("p2", "n2", 4)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    herd.beat("n1", "n2", state="unhealthy")
    for _ in range(8):
        clock.forward(5)
        assert cycle.check(clock=clock).moves == 0
    herd.beat("n1")
    for _ in range(3):
        clock.forward(5)
        assert cycle.check(clock=clock).moves == 0
    herd.beat("n2")
    clock.forward(5)
    assert cycle.check(clock=clock).moves == 0
    assert [owner_of(p).node_id for p in ("p1", "p2")] == ["n1", "n2"]


def test_when_kafka_is_away_from_one_node_alone_the_other_gets_its_portfolios(
    herd: Herd, portfolio: Make, clock: Clock
) -> None:
    portfolio("p1", "n1", 4)
    herd.beat("n1", "n2")
    cycle.tick(clock=clock)
    herd.beat("n1", state="unhealthy")
    cycle.check(clock=clock)
    clock.forward(31)
    assert cycle.check(clock=clock).moves == 1
    assert owner_of("p1") == Ownership("p1", "n2", 5)
