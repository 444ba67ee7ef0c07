"""How a node ends: in order, abruptly, or frozen and woken too late; and what it leaves behind each time."""

from __future__ import annotations

import signal
from collections.abc import Callable

import pytest

from market.messages import NodeOffline
from portfolios import livestate
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, system_events

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]
Spare = Callable[[], NodeProcess]


def test_frozen_past_its_lease_and_woken_it_sends_nothing(cluster: Cluster, spare: Spare, new_code: NewCode) -> None:
    code = new_code()
    frozen = spare()
    portfolio = cluster.portfolio(config((code,), every=5), frozen.node_id)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(5)])
    eventually(lambda: cluster.orders(portfolio), saying="an order before")
    frozen.signal(signal.SIGSTOP)
    heartbeat = livestate.heartbeat_key(frozen.node_id)
    eventually(lambda: cluster.redis.exists(heartbeat) == 0, timeout=10, saying="its heartbeat gone")
    epoch = cluster.assign(portfolio, "somebody-else")
    before = len(cluster.orders(portfolio))
    cluster.publish([tick(n, code) for n in range(5, 60)])
    frozen.signal(signal.SIGCONT)
    eventually(lambda: frozen.metric("portfolio_count") == 0 and frozen.info() == "running", saying="all dropped")
    assert len(cluster.orders(portfolio)) == before
    assert cluster.checkpoint(portfolio).epoch == epoch
    assert cluster.assignment(portfolio).node_id == "somebody-else"


def test_stopped_it_gives_back_what_it_owns_with_its_last_state_and_takes_its_keys_along(
    cluster: Cluster, spare: Spare, new_code: NewCode
) -> None:
    code, slow_code = new_code(), new_code()
    leaving = spare()
    me = leaving.node_id
    portfolio = cluster.portfolio(config((code,)), me)
    slow = cluster.portfolio(config((slow_code,), seconds=0.2), me)
    starts = cluster.run(portfolio), cluster.run(slow)
    before = leaving.metric("total_events")
    slow_end = cluster.publish([tick(n, slow_code) for n in range(200)])
    end = cluster.publish([tick(n, code) for n in range(25)])
    eventually(lambda: leaving.metric("total_events") > before + 25, saying="the ticks applied")
    assert leaving.stop() == 0
    for one in (portfolio, slow):
        owner = cluster.assignment(one)
        assert (owner.node_id, owner.epoch) == ("", 2)
        assert cluster.status(one) == "stopped"
    assert cluster.offset(portfolio, code) == end
    assert cluster.offset(slow, slow_code) < slow_end  # the rest stays in the log
    for one, start in zip((portfolio, slow), starts, strict=True):
        assert bytes(cluster.checkpoint(one).state) == cluster.replay(one, start)
    keys = [key(me) for key in (livestate.heartbeat_key, livestate.metrics_key, livestate.node_info_key)]
    assert cluster.redis.exists(*keys) == 0
    assert any(isinstance(event, NodeOffline) for event in system_events(cluster, me))
    assert "Traceback" not in leaving.said()


def test_it_says_that_it_stops_before_the_first_portfolio_is_free(cluster: Cluster, new_code: NewCode) -> None:
    """The scheduler would give it back at once: no node has more room than one that has just given back."""
    interval = {"GINKGO_NODE__HEARTBEAT_INTERVAL": "10", "GINKGO_NODE__HEARTBEAT_TTL": "30"}
    leaving = cluster.start("says-it-stops", GINKGO_NODE__STOP_TIMEOUT="9", **interval)
    code, slow_code = new_code(), new_code()
    quick = cluster.portfolio(config((code,)), leaving.node_id)
    slow = cluster.portfolio(config((slow_code,), seconds=0.2), leaving.node_id)
    cluster.run(quick)
    cluster.run(slow)
    before = leaving.metric("total_events")
    cluster.publish([tick(n, slow_code) for n in range(200)])
    eventually(lambda: leaving.metric("total_events") > before, saying="the first ticks applied")
    leaving.signal(signal.SIGTERM)
    eventually(lambda: cluster.assignment(quick).node_id == "", saying="the first of its portfolios given back")
    assert leaving.info() == "stopping"
    assert leaving.process.wait(30) == 0
    left = livestate.node_left_key(leaving.node_id)
    assert cluster.redis.exists(left), "a scheduler that looks only now knows that it stopped in order"


def test_a_second_signal_is_abrupt_and_loses_nothing(cluster: Cluster, spare: Spare, new_code: NewCode) -> None:
    code = new_code()
    hasty = spare()
    portfolio = cluster.portfolio(config((code,), seconds=0.2), hasty.node_id)
    start = cluster.run(portfolio)
    before = hasty.metric("total_events")
    cluster.publish([tick(n, code) for n in range(200)])
    eventually(lambda: hasty.metric("total_events") > before, saying="the first ticks applied")
    hasty.signal(signal.SIGTERM)
    eventually(lambda: "Waiting for queues to drain" in hasty.said(), saying="the stop begun")
    hasty.signal(signal.SIGTERM)
    assert hasty.process.wait(5) == 1
    assert cluster.assignment(portfolio).node_id == hasty.node_id
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
