"""Live is what a backtest is: a recorded stream in lock step through real processes, and once more in one (SPEC P8)."""

from __future__ import annotations

import csv
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from market.feeds.base import Published
from market.feeds.sample import CODES, SampleFeed
from market.feeds.simulation import SimulationFeed
from portfolios.backtest import recorded
from portfolios.calendars import trading_days
from portfolios.kernel.events import Cause, PriceUpdate
from tests.market.engine_support import Engine, engine
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

_END = date(2026, 10, 19)
"""The sample's last real day."""


@dataclass(frozen=True)
class Run:
    """A stream that three portfolios traded live, and what the engine's books say of that."""

    record: Path
    portfolios: list[str]
    ticks: int
    seconds: float

    def compare(self, stack: RunningStack, record: Path | None = None) -> list[dict[str, Any]]:
        words = ("--data", str(record or self.record), "--output", str(self.traces), "--json")
        done = stack.run("parity", *self.portfolios, *words, timeout=120)
        found: list[dict[str, Any]] = json.loads(done.stdout)
        assert done.returncode == (0 if all(each["identical"] for each in found) else 1), done.stderr
        return found

    @property
    def traces(self) -> Path:
        return self.record.with_suffix(".traces")

    def live(self) -> list[bytes]:
        """What each portfolio did live, as it was written for a diff."""
        return [(self.traces / f"{each}.live.txt").read_bytes() for each in self.portfolios]

    def backtest(self) -> list[bytes]:
        return [(self.traces / f"{each}.backtest.txt").read_bytes() for each in self.portfolios]


def configuration(strategy: str, params: dict[str, Any], sizer: dict[str, Any], **risks: Any) -> dict[str, Any]:
    return {
        "strategy": {"name": strategy, "params": params},
        "risk_managements": [{"name": name, "params": given} for name, given in risks.items()],
        "sizer": sizer,
        "codes": list(CODES),
    }


DAILY = [
    configuration(
        "TrendFollowStrategy",
        {"short_period": 2, "long_period": 5},
        {"name": "FixedAmountSizer", "params": {"amount": 200_000}},
        LossLimitRisk={"loss_limit": 3},
    ),
    configuration(
        "MeanReversionStrategy",
        {"period": 5, "entry": 1.0, "exit": 0.0},
        {"name": "RatioSizer", "params": {}},
        ProfitTargetRisk={"profit_target": 4},
        PositionRatioRisk={"max_position_ratio": 0.3, "max_total_position_ratio": 0.9},
    ),
    configuration(
        "MomentumStrategy",
        {"period": 3, "buy_above": 2.0, "sell_below": -1.0},
        {"name": "ATRSizer", "params": {"risk": 3.0, "period": 5, "multiple": 1.0}},
        MaxDrawdownRisk={"max_drawdown": 2.0, "pause": 5},
    ),
]
INTRADAY = [
    configuration(
        "TrendFollowStrategy",
        {"short_period": 1, "long_period": 3},
        {"name": "FixedAmountSizer", "params": {"amount": 3_000_000}},
        LossLimitRisk={"loss_limit": 1},
    ),
    configuration(
        "DualThrustStrategy",
        {"sessions": 1, "k_up": 0.1, "k_down": 0.1},
        {"name": "RatioSizer", "params": {}},
        ProfitTargetRisk={"profit_target": 1},
    ),
    configuration(
        "MomentumStrategy",
        {"period": 1, "buy_above": 0.3, "sell_below": -0.3},
        {"name": "FixedAmountSizer", "params": {"amount": 9_990_000}},
        MaxDrawdownRisk={"max_drawdown": 1, "pause": 0},
    ),
]


# The turnover is what some of the intraday orders exceed.
ENGINE = {"GINKGO_BROKERS__SIMULATION__SAVE_CURSORS": "0", "GINKGO_ENGINE__MAX_DAILY_TURNOVER": "12000000"}
# Without history: other tests may have filled this home's, and nobody is to be warmed up with theirs.
NODE = {
    "GINKGO_NODE__CHECKPOINT_INTERVAL": "0.001",
    "GINKGO_CLICKHOUSE__HOST": "127.0.0.1",
    "GINKGO_CLICKHOUSE__PORT": "1",
}


@pytest.fixture(scope="module")
def node(cluster: Cluster, stack: RunningStack) -> Iterator[NodeProcess]:
    """With an engine, and both write down at once how far they are."""
    with engine(stack, **ENGINE):
        running = cluster.start("parity", **NODE)
        yield running
        running.stop()


def play(
    cluster: Cluster,
    stack: RunningStack,
    node_id: str,
    ticks: list[PriceUpdate],
    configs: list[dict[str, Any]],
    cash: int,
    meanwhile: Callable[[threading.Event], None] = lambda _over: None,
) -> Run:
    """Lets a node and an engine, real processes both, trade the stream in lock step, and records it from the log.
    `meanwhile` does what it likes to them, until its event is set."""
    stream, record = stack.home / f"stream-{len(ticks)}.csv", stack.home / f"recorded-{len(ticks)}.csv"
    with stream.open("w", newline="") as file:
        recorded.write(((tick, Cause("", 0, 0)) for tick in ticks), file)
    portfolios = [cluster.portfolio(config, node_id, cash=cash) for config in configs]
    for each in portfolios:
        eventually(lambda p=each: cluster.status(p) == "running", 30, saying="the portfolios running")  # type: ignore[misc]
    since, begun = datetime.now(UTC).isoformat(), time.monotonic()
    only = [word for each in portfolios for word in ("--portfolio", each)]
    source = ("--source", "replay", "--file", str(stream), "--rewind", "--lock-step")
    over = threading.Event()
    other = threading.Thread(target=meanwhile, args=(over,))
    other.start()
    fed = stack.run("feed", "start", *source, *only, timeout=900)
    seconds = time.monotonic() - begun
    over.set()
    other.join()
    assert fed.returncode == 0, fed.stderr
    done = stack.run("feed", "record", str(record), "--since", since)
    assert done.returncode == 0, done.stderr
    for each in portfolios:
        cluster.assign(each, "")  # the next stream is not theirs
    return Run(record, portfolios, len(ticks), seconds)


def sample(first: date) -> list[PriceUpdate]:
    """The sample's last days, from this one on."""
    days = trading_days("cn", settings.GINKGO.home)
    story = (tick for batch in SampleFeed(trading_days=days).batches(Published()) for tick in batch.ticks)
    found = []
    for tick in story:
        if tick.timestamp.date() > _END:
            return found
        if tick.timestamp.date() >= first:
            found.append(tick)
    return found


def simulation(first: date, days: int) -> list[PriceUpdate]:
    """Sessions of the simulated market, of which only a round every twelve minutes is told."""
    feed = SimulationFeed(CODES, trading_days=trading_days("cn", settings.GINKGO.home), first_day=first)
    story = (tick for batch in feed.batches(Published()) for tick in batch.ticks)
    seen: set[date] = set()
    found = []
    for tick in story:
        seen.add(tick.timestamp.date())
        if len(seen) > days:
            break
        if tick.timestamp.minute % 12 == 0 and tick.timestamp.second < 3:
            found.append(tick)
    return found


def the_same(run: Run, stack: RunningStack) -> list[dict[str, Any]]:
    """What was compared, once it is found to be the same to the byte."""
    found = run.compare(stack)
    print(f"{run.ticks} ticks in {run.seconds:.0f} s", [(each["live"], each["refused"]) for each in found])
    assert [each["differences"] for each in found] == [[]] * len(found)
    assert run.live() == run.backtest()
    return found


def test_two_months_of_the_sample_trade_live_as_in_a_backtest(
    cluster: Cluster, stack: RunningStack, node: NodeProcess, tmp_path: Path
) -> None:
    run = play(cluster, stack, node.node_id, sample(date(2026, 8, 19)), DAILY, 2_000_000)
    found = the_same(run, stack)
    assert run.ticks > 250
    assert all(each["live"]["fills"] >= 10 for each in found)

    # One price of them another: the comparison has eyes.
    with run.record.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["code"] for row in rows[:7]] == [tick.code for tick in sample(date(2026, 8, 19))[:7]]
    for row in rows[-70:]:
        row["price"] = str(round(float(row["price"]) * 1.01, 2))
    altered = tmp_path / "altered.csv"
    with altered.open("w", newline="") as file:
        writer = csv.DictWriter(file, rows[0].keys())
        writer.writeheader()
        writer.writerows(rows)
    assert not all(each["identical"] for each in run.compare(stack, altered))


@pytest.mark.slow
def test_a_market_with_volumes_trades_live_as_in_a_backtest(
    cluster: Cluster, stack: RunningStack, node: NodeProcess
) -> None:
    """Partial fills, cancels that cross the fills of the price they are decided on, and orders the engine refuses."""
    run = play(cluster, stack, node.node_id, simulation(first=date(2026, 11, 2), days=3), INTRADAY, 30_000_000)
    found = the_same(run, stack)
    told = b"".join(run.live())
    assert told.count(b'"order_partially_filled"') > 20
    assert told.count(b'"reason":"cancelled"') > 2
    assert sum(each["refused"] for each in found) > 0


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_two_years_of_the_sample_trade_live_as_in_a_backtest(
    cluster: Cluster, stack: RunningStack, node: NodeProcess
) -> None:
    run = play(cluster, stack, node.node_id, sample(date(2024, 10, 19)), DAILY, 2_000_000)
    found = the_same(run, stack)
    assert run.ticks > 3000
    assert all(each["live"]["fills"] > 100 for each in found)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_nodes_and_engines_that_are_killed_change_nothing(cluster: Cluster, stack: RunningStack) -> None:
    """Kill -9 at any moment: what the successors do is what would have been done."""
    chance, engines = random.Random(11), [Engine(stack, **ENGINE)]
    nodes = [cluster.start("parity-killed", **NODE)]

    def kill(over: threading.Event) -> None:
        while not over.wait(chance.uniform(2, 12)):
            if chance.random() < 0.25:
                engines[-1].kill()
                engines.append(Engine(stack, **ENGINE))
                engines[-1].wait_until_ready()
            else:
                nodes[-1].kill()
                nodes.append(cluster.start("parity-killed", **NODE))

    try:
        ticks = simulation(first=date(2026, 12, 1), days=6)
        run = play(cluster, stack, "parity-killed", ticks, INTRADAY[:2], 30_000_000, kill)
    finally:
        engines[-1].kill()
        nodes[-1].kill()
    print(f"{len(nodes) - 1} nodes and {len(engines) - 1} engines killed")
    the_same(run, stack)
    assert len(nodes) > 3 and len(engines) > 1
