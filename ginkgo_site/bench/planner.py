"""The planner: 1,000 nodes and 10,000 portfolios, in the situations that a scheduler meets."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Mapping

from ginkgo_site.bench.figures import median
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.progress import Say
from scheduler.planner import Load, NodeOffer, PortfolioDemand, plan

NODES, PORTFOLIOS = 1_000, 10_000
MUST_S = 1.0
_RUNS = 5
_MARKETS = ("cn", "hk", "us", "futures")


def run(say: Say) -> list[Outcome]:
    """The slowest situation's median counts."""
    seconds = {name: _measure(current, lost) for name, (current, lost) in situations().items()}
    for name, value in seconds.items():
        say(f"planner: {name}: {value:.3f} s")
    return [
        Outcome(
            name="planner",
            ours=max(seconds.values()),
            unit="s",
            must=MUST_S,
            bound="at most",
            details={f"{name} (s)": value for name, value in seconds.items()},
            load=os.getloadavg()[0],
        )
    ]


def situations() -> dict[str, tuple[dict[str, str], int]]:
    """Who has what, and how many of the nodes have died."""
    placed = {demand.id: f"node-{i % NODES:04d}" for i, demand in enumerate(_demands())}
    crowded = {demand.id: f"node-{i % (NODES // 2):04d}" for i, demand in enumerate(_demands())}
    return {
        "nothing placed": ({}, 0),
        "all well placed": (placed, 0),
        "100 nodes lost": (placed, 100),
        "half the nodes new": (crowded, 0),
    }


def _measure(current: Mapping[str, str], lost: int) -> float:
    demands, nodes = _demands(), _nodes()[lost:]
    seconds = []
    for _ in range(_RUNS):
        begun = time.perf_counter()
        made = plan(demands, nodes, current, max_moves=50, threshold=2)
        seconds.append(time.perf_counter() - begun)
        assert len(made.placements) + len(made.unplaced) >= PORTFOLIOS
    return median(seconds)


def _demands() -> list[PortfolioDemand]:
    """Every fourth of another market, from 5 to 500 codes."""
    rng = random.Random(5)
    return [PortfolioDemand(f"p{i:05d}", _MARKETS[i % 4], float(rng.randint(5, 500))) for i in range(PORTFOLIOS)]


def _nodes() -> list[NodeOffer]:
    """A third of them take one market only."""
    rng = random.Random(6)
    return [
        NodeOffer(
            f"node-{i:04d}",
            20,
            {"market": {_MARKETS[i % 4]}} if i % 3 == 0 else {},
            load=Load(rng.random() * 100, rng.random() * 80, rng.random() * 1e4),
        )
        for i in range(NODES)
    ]
