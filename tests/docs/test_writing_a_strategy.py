"""The page about strategies, followed word by word: typed in outside the project, it runs on history and live."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from market.messages import PriceUpdate
from tests.docs.snippets import blocks, commands, type_in
from tests.market.engine_support import engine
from tests.support import eventually
from tests.support.cluster import Cluster
from tests.support.stack import RunningStack, run

DOCUMENT = "writing-a-strategy.md"
MORNING = datetime(2024, 3, 5, 2, 0, tzinfo=UTC)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The reader's directory, in which the commands run."""
    assert type_in(DOCUMENT, tmp_path) == ["my_breakout.py"]
    (tmp_path / "breakout.json").write_text(blocks(DOCUMENT, "json")[0])
    monkeypatch.chdir(tmp_path)
    return tmp_path


def ginkgo(home: Path, folder: Path, beginning: str, *more: str) -> Any:
    """The page's command that begins so, as a process in the reader's shell; what it prints as JSON."""
    (command,) = (each for each in commands(DOCUMENT) if each.startswith(f"ginkgo {beginning}"))
    done = run(home, *shlex.split(command)[1:], *more, "--json", variables={"PYTHONPATH": str(folder)})
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_the_strategy_is_a_few_lines(folder: Path) -> None:
    lines = (folder / "my_breakout.py").read_text().partition("class BreakoutStrategy")[2].splitlines()
    assert len([line for line in lines if line.strip()]) <= 18


def test_it_runs_on_history_without_any_server(folder: Path, tmp_path: Path) -> None:
    home = tmp_path / "home"
    found = ginkgo(home, folder, "backtest run", "--end-date", "2020-12-31")
    assert found["fills"] > 10 and found["trades"] > 3
    page = (folder / "breakout.html").read_text()
    assert "my_breakout:BreakoutStrategy" in page
    config = json.loads((folder / "breakout.json").read_text())
    config["strategy"]["params"] = {"period": 1, "perod": 3}
    (folder / "breakout.json").write_text(json.dumps(config))
    refused = run(home, "backtest", "run", "--config", "breakout.json", variables={"PYTHONPATH": str(folder)})
    assert refused.returncode != 0
    assert set(refused.stderr.splitlines()) == {
        "strategy.params.perod: is unknown here: allowed is period",
        "strategy.params.period: must be int >= 2, got 1",
    }


@pytest.fixture
def cluster(stack: RunningStack, django_db_blocker: Any) -> Iterator[Cluster]:
    cluster = Cluster(stack, django_db_blocker.unblock)
    yield cluster
    cluster.close()


@pytest.mark.servers
@pytest.mark.timeout(240)
def test_it_trades_live_on_a_node_and_an_engine(stack: RunningStack, cluster: Cluster, folder: Path) -> None:
    listed = ginkgo(stack.home, folder, "components")
    (period,) = listed["params"]
    assert (period["name"], period["minimum"], period["maximum"], period["default"]) == ("period", 2, 500, 20)
    portfolio = ginkgo(stack.home, folder, "portfolio create")["id"]
    node = cluster.launch("breakout", PYTHONPATH=str(folder))
    with engine(stack):
        cluster.assign(portfolio, node.node_id)
        eventually(lambda: cluster.status(portfolio) == "running", timeout=60, saying="the portfolio running")
        flat = [price(n, 10.0 - 0.01 * (n % 2)) for n in range(11)]
        cluster.publish([*flat, price(11, 10.2), price(12, 10.3)])
        bought = eventually(lambda: held(cluster, portfolio).get("600519.SH"), timeout=30, saying="what was bought")
        assert bought == 9_800  # for 100,000 at 10.20, in whole lots
        cluster.publish([price(86_400, 9.7), price(86_401, 9.6)])
        eventually(lambda: held(cluster, portfolio) == {}, timeout=30, saying="sold on a new low")
        # Decisions are told once a second, at most.
        eventually(
            lambda: {"a new high", "a new low"} <= decided(ginkgo(stack.home, folder, "portfolio show")),
            timeout=30, interval=0.5, saying="its reasons told",
        )  # fmt: skip
    assert ginkgo(stack.home, folder, "portfolio show")["name"] == "breakout"


def decided(found: dict[str, Any]) -> set[str]:
    return {each["reason"] for each in found["decisions"]}


def price(seconds: int, at: float) -> PriceUpdate:
    return PriceUpdate(code="600519.SH", timestamp=MORNING + timedelta(seconds=seconds), price=at)


def held(cluster: Cluster, portfolio_id: str) -> dict[str, int]:
    """The volumes in its checkpoint."""
    state = bytes(cluster.checkpoint(portfolio_id).state)
    positions = json.loads(state)["ledger"]["positions"] if state else {}
    return {code: each["volume"] for code, each in positions.items()}
