"""The planner weighs: what a portfolio hears, takes and keeps waiting counts beside its being there."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scheduler.demand import PortfolioDemand
from scheduler.planner import NodeOffer, Plan, plan
from tests.scheduler.test_planner import made, node


def heavy(name: str, rate: float = 0.0, **measured: float) -> PortfolioDemand:
    return PortfolioDemand(name, "cn", rate, **measured)  # type: ignore[arg-type]


def loads(result: Plan, demands: list[PortfolioDemand], nodes: list[NodeOffer]) -> list[float]:
    weights = {d.id: d.weight for d in demands}
    return [sum(weights[p] for p, n in result.placements.items() if n == offer.node_id) for offer in nodes]


def test_a_portfolio_weighs_by_what_was_measured_of_it() -> None:
    assert heavy("idle").weight == 1
    assert heavy("p", 1000).weight == 2
    assert heavy("p", cpu=20).weight == 2
    assert heavy("p", queue=1000).weight == 2
    assert heavy("p", 2000, cpu=10, queue=500).weight == 4


def test_many_light_ones_go_where_the_heavy_one_is_not() -> None:
    demands = [heavy("big", 4000), *(heavy(f"p{i}", 10) for i in range(4))]
    result = made(demands, [node("a"), node("b")])
    by_node = {n: sorted(p for p, where in result.placements.items() if where == n) for n in ("a", "b")}
    assert sorted(by_node.values()) == [["big"], ["p0", "p1", "p2", "p3"]]


def test_a_nodes_room_is_respected_whatever_it_carries() -> None:
    demands = [heavy("big", 50_000), *(heavy(f"p{i}") for i in range(4))]
    result = made(demands, [node("a", 3), node("b", 3)])
    assert sorted(list(result.placements.values()).count(n) for n in ("a", "b")) == [2, 3]


@pytest.mark.parametrize("measured", [{"rate": 3000.0}, {"cpu": 60.0}, {"queue": 3000.0}])
def test_of_equally_many_the_busy_node_gives_away_and_says_by_which_figures(measured: dict[str, float]) -> None:
    demands = [heavy("big", **measured), heavy("p1"), heavy("p2"), heavy("q1"), heavy("q2")]
    current = {"big": "a", "p1": "a", "p2": "a", "q1": "b", "q2": "b"}
    (move,) = made(demands, [node("a"), node("b")], current, max_moves=1).moves
    assert (move.source, move.target) == ("a", "b")
    assert move.portfolio_id != "big", "one of the small ones halves the gap better"
    rate, cpu, queue = (measured.get(name, 0) for name in ("rate", "cpu", "queue"))
    seen = f"{rate:,.0f} events/s, CPU {cpu:.0f} %, queue {queue:.0f}"
    assert move.reason == (
        f"balance: a carries load 6.0 (3 portfolios, {seen}), "
        "b load 2.0 (2 portfolios, 0 events/s, CPU 0 %, queue 0); it weighs 1.0"
    )


def test_one_that_is_heavy_alone_is_not_carried_to_and_fro() -> None:
    demands = [heavy("big", 40_000)]
    assert made(demands, [node("a"), node("b")], {"big": "a"}, threshold=1).moves == ()


def test_the_least_loaded_is_named_with_its_figures() -> None:
    result = made([heavy("new"), heavy("old", 500)], [node("a"), node("b")], {"old": "a"})
    assert result.moves[0].reason == (
        "nobody has it; b is the least loaded: load 0.0 (0 portfolios, 0 events/s, CPU 0 %, queue 0)"
    )


def test_fifty_alike_on_ten_nodes_are_within_one_however_they_waver() -> None:
    dice = random.Random(1)
    demands = [heavy(f"p{i:02}", dice.uniform(20, 120), cpu=dice.uniform(0.1, 1.0)) for i in range(50)]
    nodes = [node(f"n{i}", 10) for i in range(10)]
    current = {d.id: f"n{i % 9}" for i, d in enumerate(demands)}  # the tenth is new
    result = made(demands, nodes, current, max_moves=50, threshold=1)
    counts = [list(result.placements.values()).count(n.node_id) for n in nodes]
    assert max(counts) - min(counts) <= 1
    assert len(result.moves) == 5


@pytest.mark.parametrize("seed", range(5))
def test_noise_moves_nothing(seed: int) -> None:
    dice = random.Random(seed)
    nodes = [node(f"n{i}", 12) for i in range(10)]
    true = {f"p{i:02}": dice.choice([20.0, 300.0, 2000.0, 8000.0]) for i in range(60)}
    exact = [heavy(name, rate) for name, rate in true.items()]
    current = dict(made(exact, nodes, {}, threshold=1).placements)
    current |= made(exact, nodes, current, max_moves=100, threshold=1).placements
    for _ in range(40):
        wavering = [heavy(name, rate * dice.uniform(0.95, 1.05)) for name, rate in true.items()]
        assert made(wavering, nodes, current, max_moves=5, threshold=1).moves == ()


def test_a_load_that_doubles_is_followed_and_then_there_is_rest() -> None:
    nodes = [node("a"), node("b")]
    demands = [heavy("p1", 2000), heavy("p2", 2000), heavy("q1", 2000), heavy("q2", 2000)]
    current = {"p1": "a", "p2": "a", "q1": "b", "q2": "b"}
    assert made(demands, nodes, current, threshold=1).moves == ()
    risen = [heavy("p1", 9000), heavy("p2", 2000), heavy("q1", 2000), heavy("q2", 2000)]
    after = made(risen, nodes, current, threshold=1)
    assert [m.portfolio_id for m in after.moves] == ["p2"]
    assert made(risen, nodes, dict(after.placements), threshold=1).moves == ()


@st.composite
def measured_clusters(draw: st.DrawFn) -> tuple[list[PortfolioDemand], list[NodeOffer], dict[str, str]]:
    nodes = [node(f"n{i}", draw(st.integers(1, 6))) for i in range(draw(st.integers(1, 5)))]
    demands = [
        heavy(f"p{i}", draw(st.floats(0, 20_000)), cpu=draw(st.floats(0, 100)), queue=draw(st.floats(0, 1000)))
        for i in range(draw(st.integers(0, 14)))
    ]
    owners = st.sampled_from(["", "gone", *(n.node_id for n in nodes)])
    return demands, nodes, {d.id: draw(owners) for d in demands}


@settings(max_examples=80, deadline=None)
@given(measured_clusters())
def test_every_move_for_balance_brings_two_nodes_closer(
    cluster: tuple[list[PortfolioDemand], list[NodeOffer], dict[str, str]],
) -> None:
    demands, nodes, current = cluster
    current = dict(plan(demands, nodes, current, max_moves=0, threshold=1).placements)
    before = loads(Plan(current, (), {}), demands, nodes)
    result = plan(demands, nodes, current, max_moves=100, threshold=1)
    balancing = [m for m in result.moves if m.reason.startswith("balance")]
    after = loads(result, demands, nodes)
    if len(balancing) == len(result.moves) and balancing:
        assert sum(load**2 for load in after) < sum(load**2 for load in before)
        assert max(after) <= max(before)


@settings(max_examples=80, deadline=None)
@given(measured_clusters(), st.randoms(use_true_random=False))
def test_measured_loads_make_the_same_plan_in_whatever_order(
    cluster: tuple[list[PortfolioDemand], list[NodeOffer], dict[str, str]], dice: random.Random
) -> None:
    demands, nodes, current = cluster
    first = plan(demands, nodes, current, max_moves=5, threshold=1)
    shuffled = (dice.sample(demands, len(demands)), dice.sample(nodes, len(nodes)))
    assert plan(*shuffled, current, max_moves=5, threshold=1) == first


@settings(max_examples=80, deadline=None)
@given(measured_clusters())
def test_measured_plans_come_to_rest(
    cluster: tuple[list[PortfolioDemand], list[NodeOffer], dict[str, str]],
) -> None:
    demands, nodes, current = cluster
    rounds = 0
    while moves := plan(demands, nodes, current, max_moves=2, threshold=1).moves:
        current |= {m.portfolio_id: m.target for m in moves}
        rounds += 1
        assert rounds <= 40, f"still moving: {moves}"


def test_two_more_of_small_ones_are_two_more_whatever_they_hear() -> None:
    demands = [heavy(f"p{i}", rate) for i, rate in enumerate((1.0, 40.0, 90.0))]
    current = dict.fromkeys(("p0", "p1"), "a")
    assert made(demands[:2], [node("a"), node("b")], current, threshold=2).moves == ()
    current["p2"] = "a"
    assert len(made(demands, [node("a"), node("b")], current, threshold=2).moves) == 1
