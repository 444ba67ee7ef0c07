"""What a node says of itself in Redis, for how long, and who may speak under its name."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from market.messages import InterestUpdate, NodeOnline
from portfolios import livestate
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of, system_events

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]


def test_the_heartbeat_advances_and_expires_by_itself(cluster: Cluster, node: NodeProcess) -> None:
    key = livestate.heartbeat_key(node.node_id)
    first = cluster.redis.get(key)
    eventually(lambda: cluster.redis.get(key) not in (None, first), timeout=5, saying="the next beat")
    age = datetime.now(UTC) - datetime.fromisoformat(str(cluster.redis.get(key)))
    assert age.total_seconds() < 3
    assert 0 < int(cluster.redis.pttl(key)) <= 3000  # type: ignore[arg-type]


def test_it_says_who_and_where_it_is_and_how_it_does(cluster: Cluster, node: NodeProcess) -> None:
    info = cluster.redis.hgetall(livestate.node_info_key(node.node_id))
    assert info["pid"] == str(node.process.pid)  # type: ignore[index]
    assert {"host", "instance", "started_at", "max_portfolios", "version", "state"} <= set(info)  # type: ignore[arg-type]
    metrics = cluster.redis.hgetall(livestate.metrics_key(node.node_id))
    expected = {
        "portfolio_count", "queue_size", "cpu_usage", "memory_usage", "total_events", "backpressure_count",
        "dropped_events", "lag", "lag_messages", "lag_seconds",
    }  # fmt: skip
    assert expected <= set(metrics)  # type: ignore[arg-type]
    assert 50 < node.metric("memory_usage") < 1000


def test_redis_emptied_has_all_its_keys_back_and_nothing_was_given_up(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    cluster.run(portfolio)
    cluster.redis.flushdb()
    keys = [
        livestate.heartbeat_key(node.node_id),
        livestate.node_info_key(node.node_id),
        livestate.metrics_key(node.node_id),
        livestate.state_key(portfolio),
        livestate.status_key(portfolio),
    ]
    eventually(lambda: cluster.redis.exists(*keys) == len(keys), timeout=15, saying="all keys back")
    assert cluster.redis.get(livestate.status_key(portfolio)) == "running"
    assert cluster.assignment(portfolio).epoch == 1
    assert node.info() == "running"


def test_its_portfolios_are_seen_as_they_are(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=4), node.node_id, cash=50_000)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(4)])

    def state() -> dict[str, str]:
        return dict(cluster.redis.hgetall(livestate.state_key(portfolio)))  # type: ignore[arg-type]

    eventually(lambda: state().get("open_orders") == "1", saying="its order seen")
    seen = state()
    assert (Decimal(seen["cash"]), seen["node_id"], seen["version"]) == (50_000, node.node_id, "1")
    assert (datetime.now(UTC) - datetime.fromisoformat(seen["updated_at"])).total_seconds() < 5
    decisions = cluster.redis.lrange(f"portfolio:{portfolio}:decisions", 0, -1)
    assert any('"order"' in one for one in decisions)  # type: ignore[union-attr]


def test_it_says_how_far_behind_its_slowest_portfolio_is(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), seconds=0.15), node.node_id)
    cluster.run(portfolio)
    topic, partition = place_of(code)
    seen: list[float] = []

    def lag() -> tuple[int, float]:
        said = livestate.lag_of(cluster.redis.hgetall(livestate.metrics_key(node.node_id)))  # type: ignore[arg-type]
        return said.get(f"{topic}:{partition}", (0, 0.0))

    def caught_up() -> bool:
        messages, seconds = lag()
        seen.append(seconds)
        return messages == 0 and max(seen) > 0

    cluster.publish([tick(n, code) for n in range(30)])
    eventually(lambda: lag()[0] > 0, timeout=10, saying="behind")
    eventually(caught_up, timeout=30, saying="not behind any more")
    assert 1 <= max(seen) < 30


def test_it_tells_feeds_what_it_wants(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    cluster.run(portfolio)

    def wanted() -> set[str]:
        codes: set[str] = set()
        for event in system_events(cluster, node.node_id):
            if isinstance(event, InterestUpdate):
                codes = set(event.codes) if event.full else (codes | set(event.added)) - set(event.removed)
        return codes

    eventually(lambda: code in wanted(), saying="the interest published")
    cluster.desire(portfolio, "stopped")
    eventually(lambda: code not in wanted(), saying="the interest withdrawn")
    assert isinstance(system_events(cluster, node.node_id)[0], NodeOnline)


def test_a_node_id_in_use_is_refused_in_one_line(cluster: Cluster, node: NodeProcess) -> None:
    done = cluster.stack.run("node", "start", "--node-id", node.node_id)
    assert done.returncode == 1
    (line,) = [line for line in done.stderr.splitlines() if "[INFO]" not in line]
    assert f"'{node.node_id}' is in use: process {node.process.pid}" in line
    assert node.process.poll() is None
