"""A new configuration takes over between two events: state and all, nothing lost, nothing twice."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from portfolios import livestate
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]


@contextmanager
def flow(cluster: Cluster, code: str) -> Iterator[None]:
    """Ticks, a thousand a second or so, while the block runs."""
    done = threading.Event()

    def feed() -> None:
        first = 0
        while not done.wait(0.02):
            cluster.feed([tick(n % 200_000, code) for n in range(first, first + 20)])
            first += 20

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        yield
    finally:
        done.set()
        feeding.join()


@contextmanager
def statuses(cluster: Cluster, portfolio: str) -> Iterator[list[str]]:
    """Every status told to Redis meanwhile, in order, as Redis itself saw them."""
    seen: list[str] = []
    key, done, ready = livestate.status_key(portfolio), threading.Event(), threading.Event()
    # MySQL is told first that it runs: its start would be among what is to come.
    eventually(lambda: cluster.redis.get(key) in ("running", b"running"), saying="Redis told that it runs")

    def listen() -> None:
        with cluster.redis.monitor() as monitor:
            ready.set()
            for command in monitor.listen():
                if done.is_set():
                    return
                words = command["command"].split()
                if words[:2] == ["SET", key] and "NX" not in words:
                    seen.append(words[2])

    listening = threading.Thread(target=listen, daemon=True)
    listening.start()
    assert ready.wait(5)
    try:
        yield seen
    finally:
        done.set()
        cluster.redis.ping()
        listening.join(5)


def count(cluster: Cluster, portfolio: str) -> int:
    """How many ticks its strategy has seen by its checkpoint."""
    state: dict[str, Any] = json.loads(bytes(cluster.checkpoint(portfolio).state))
    return int(state["components"]["strategy"][2]["count"])


def published(cluster: Cluster, code: str, start: int, end: int) -> int:
    return sum(m.key() == code.encode() for m in cluster.read(*place_of(code), start, end))


def test_reloaded_under_load_it_loses_no_message_and_applies_none_twice(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code, added = new_code(2), new_code(5)
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    start = cluster.run(portfolio)
    with flow(cluster, code), statuses(cluster, portfolio) as seen:
        eventually(lambda: count(cluster, portfolio) > 50, saying="ticks before")
        # The strategy keeps its name and parameters, so it keeps its count; the policy and the codes change.
        version = cluster.reconfigure(portfolio, config((code, added), {"min_signal_interval": 5}))
        eventually(lambda: cluster.checkpoint(portfolio).config_version == version, saying="the new version")
        at_reload = count(cluster, portfolio)
        eventually(lambda: count(cluster, portfolio) > at_reload + 50, saying="ticks after")
        eventually(lambda: len(seen) >= 4, saying="its statuses")
    assert seen == ["stopping", "stopped", "reloading", "running"]
    end = cluster.end(*place_of(code))
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="all ticks decided")
    assert count(cluster, portfolio) == published(cluster, code, start, end)
    total = count(cluster, portfolio)
    cluster.publish([tick(n, added) for n in range(7)])
    eventually(lambda: count(cluster, portfolio) == total + 7, saying="the new code's ticks")


def test_a_code_that_is_removed_is_forgotten_with_its_partition(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    kept, removed = new_code(3), new_code(4)
    portfolio = cluster.portfolio(config((kept, removed)), node.node_id)
    eventually(lambda: cluster.offset(portfolio, removed) >= 0, saying="it running")
    version = cluster.reconfigure(portfolio, config((kept,)))
    eventually(lambda: cluster.checkpoint(portfolio).config_version == version, saying="the new version")
    eventually(lambda: cluster.offset(portfolio, removed) == -1, saying="its offset forgotten")
    assert cluster.offset(portfolio, kept) >= 0


def test_a_storm_of_reloads_collapses_into_the_newest_version(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    start = cluster.run(portfolio)
    with flow(cluster, code), statuses(cluster, portfolio) as seen:
        for number in range(100):
            version = cluster.reconfigure(portfolio, config((code,), {"min_signal_interval": number + 1}))
        eventually(lambda: cluster.checkpoint(portfolio).config_version == version == 101, saying="the newest version")
        eventually(lambda: cluster.status(portfolio) == "running", saying="it running")
        eventually(lambda: seen and len(seen) % 4 == 0, saying="whole rounds of statuses")
    assert 1 <= len(seen) // 4 <= 20
    end = cluster.end(*place_of(code))
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="all ticks decided")
    assert count(cluster, portfolio) == published(cluster, code, start, end)


def test_a_configuration_that_fails_leaves_the_old_one_running_and_says_so(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    cluster.run(portfolio)
    cluster.reconfigure(portfolio, config((code,), cannot_start=True))
    eventually(lambda: "made to fail" in cluster.row(portfolio).status_reason, saying="the refusal told")
    assert cluster.status(portfolio) == "running"
    cluster.publish([tick(n, code) for n in range(5)])
    eventually(lambda: count(cluster, portfolio) == 5, saying="ticks under the old one")
    assert cluster.checkpoint(portfolio).config_version == 1
    alerts = [a for a in cluster.alerts(portfolio) if a.alert_type == "reload_failed"]
    assert len(alerts) == 1
    # The next version is taken over again.
    cluster.reconfigure(portfolio, config((code,), {"min_signal_interval": 1}))
    eventually(lambda: cluster.checkpoint(portfolio).config_version == 3, saying="the next version")
    assert count(cluster, portfolio) == 5


def test_a_component_that_fails_at_stopping_does_not_keep_it_from_reloading(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), cannot_stop=True), node.node_id)
    cluster.run(portfolio)
    version = cluster.reconfigure(portfolio, config((code,)))
    eventually(lambda: cluster.checkpoint(portfolio).config_version == version, saying="the new version")
    assert any(a.alert_type == "component_error" for a in cluster.alerts(portfolio))
