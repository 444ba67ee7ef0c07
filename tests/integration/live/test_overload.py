"""Portfolios that cannot keep up, messages that cannot be read, components that raise: only they suffer, if at all."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from market import topics
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]

BURST = 20_000


@pytest.fixture(scope="module")
def small(cluster: Cluster) -> NodeProcess:
    """A node whose queues hold ten events."""
    return cluster.start("small", GINKGO_NODE__MAX_QUEUE_SIZE="10")


def strategy(cluster: Cluster, portfolio: str) -> dict[str, Any]:
    state: dict[str, Any] = json.loads(bytes(cluster.checkpoint(portfolio).state))
    found: dict[str, Any] = state["components"]["strategy"][2]
    return found


def test_catch_up_loses_nothing_of_a_burst(cluster: Cluster, small: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=2000), small.node_id)
    start = cluster.run(portfolio)
    end = cluster.publish([tick(n, code) for n in range(BURST)])
    eventually(lambda: cluster.offset(portfolio, code) == end, timeout=30, saying="all of it applied")
    assert strategy(cluster, portfolio)["count"] == BURST
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
    eventually(lambda: len({o.order_id for o in cluster.orders(portfolio)}) == 10, saying="its orders")
    full = [a for a in cluster.alerts(portfolio) if a.alert_type == "queue_full"]
    assert [a.severity for a in full] == ["critical"]
    eventually(lambda: small.metric("backpressure_count") > 0, saying="the pressure counted")


def test_conflate_ends_with_the_newest_of_each_code(cluster: Cluster, small: NodeProcess, new_code: NewCode) -> None:
    a, b = new_code(6), new_code(6)
    portfolio = cluster.portfolio(config((a, b), {"backpressure": "conflate"}, seconds=0.001), small.node_id)
    eventually(lambda: cluster.status(portfolio) == "running", saying="it running")
    cluster.publish([tick(n, code) for n in range(2000) for code in (a, b)])
    newest = {a: 10.91, b: 10.93}
    for code, price in newest.items():
        end = cluster.publish([tick(3000, code, price)])
    eventually(lambda: cluster.offset(portfolio, b) == end, timeout=30, saying="all of it decided")
    state = json.loads(bytes(cluster.checkpoint(portfolio).state))
    assert strategy(cluster, portfolio)["count"] < 2000
    # A row of a code begins with its name, the ordinal of its session and its last price.
    assert {row[0]: row[2] for row in state["watches"]} == newest


def test_drop_counts_what_it_drops(cluster: Cluster, small: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    dropped = small.metric("dropped_events")
    portfolio = cluster.portfolio(config((code,), {"backpressure": "drop"}, seconds=0.001), small.node_id)
    cluster.run(portfolio)
    end = cluster.publish([tick(n, code) for n in range(2000)])
    eventually(lambda: cluster.offset(portfolio, code) == end, timeout=30, saying="all of it decided")
    applied = strategy(cluster, portfolio)["count"]
    assert 0 < applied < 2000
    eventually(lambda: small.metric("dropped_events") - dropped == 2000 - applied, saying="what it dropped, counted")


def test_a_message_that_cannot_be_decoded_is_skipped_and_alerted(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    start = cluster.run(portfolio)
    where = cluster.end(*place_of(code))
    cluster.raw(topics.market_topic(code), code, b"\xff no json")
    end = cluster.publish([tick(n, code) for n in range(3)])
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="what came after it")
    assert strategy(cluster, portfolio)["count"] == 3
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
    place = f"{topics.market_topic(code)}:{place_of(code)[1]}:{where}"
    (alert,) = eventually(lambda: cluster.alerts(place), saying="the alert")
    assert (alert.alert_type, alert.source) == ("data_anomaly", node.node_id)


def test_poison_on_the_other_topics_of_a_node_does_it_no_harm(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=1), node.node_id)
    cluster.run(portfolio)
    for topic in (topics.CONTROL_COMMANDS, topics.SCHEDULE_UPDATES, topics.SYSTEM_EVENTS):
        cluster.raw(topic, node.node_id, b"[" * 20_000)
    cluster.raw(topics.ORDERS_FEEDBACK, portfolio, b"no feedback")
    for topic in (topics.CONTROL_COMMANDS, topics.SCHEDULE_UPDATES, topics.SYSTEM_EVENTS, topics.ORDERS_FEEDBACK):
        eventually(lambda t=topic: cluster.alerts(f"A message at {t}"), saying=f"the alert of {topic}")  # type: ignore[misc]
    assert node.info() == "running"


def test_an_event_at_which_a_component_always_raises_is_skipped_at_the_third_time(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), fails_at=10.25), node.node_id)
    cluster.run(portfolio)
    end = cluster.publish([tick(n, code) for n in range(40)])  # the price of the 26th is 10.25
    eventually(lambda: cluster.offset(portfolio, code) == end, timeout=20, saying="what came after it")
    assert strategy(cluster, portfolio)["count"] == 39
    assert cluster.status(portfolio) == "running"
    errors = [a for a in cluster.alerts(portfolio) if a.alert_type == "component_error"]
    assert len(errors) == 1
    assert "does not like 10.25" in errors[0].message


def test_one_that_cannot_be_made_is_in_error_until_its_configuration_changes(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), cannot_start=True), node.node_id)
    eventually(lambda: cluster.status(portfolio) == "error", saying="the error")
    assert "made to fail" in cluster.row(portfolio).status_reason
    cluster.reconfigure(portfolio, config((code,)))
    cluster.run(portfolio)
    assert len([a for a in cluster.alerts(portfolio) if "cannot be run" in a.message]) == 1


def test_one_that_cannot_be_made_is_given_back_when_its_user_stops_it(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    portfolio = cluster.portfolio(config((new_code(),), cannot_start=True), node.node_id)
    eventually(lambda: cluster.status(portfolio) == "error", saying="the error")
    cluster.desire(portfolio, "stopped")
    eventually(lambda: cluster.assignment(portfolio).node_id == "", saying="it given back")


def test_catch_up_cut_short_by_a_stop_goes_on_where_it_was(
    cluster: Cluster, node: NodeProcess, small: NodeProcess, new_code: NewCode
) -> None:
    """The last of this module: it stops the small node."""
    code = new_code()
    portfolio = cluster.portfolio(config((code,), seconds=0.002), small.node_id)
    start = cluster.run(portfolio)
    before = small.metric("total_events")
    end = cluster.publish([tick(n, code) for n in range(2000)])
    eventually(lambda: small.metric("total_events") > before, saying="the first ticks")
    assert small.stop() == 0
    assert cluster.offset(portfolio, code) < end
    cluster.assign(portfolio, node.node_id)
    eventually(lambda: cluster.offset(portfolio, code) == end, timeout=30, saying="the rest of them")
    assert strategy(cluster, portfolio)["count"] == 2000
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
