"""Portfolios begin, stop, change their owner and lose part of their log: each time it goes on as it must."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from market import bus
from market.messages import OrderCancel, OrderSubmission, encode
from market.models import OutboxMessage
from portfolios.models import LedgerEntry
from tests.nodes.support import answer, config, fill, tick
from tests.support import eventually
from tests.support.cluster import ALIAS, Cluster, NodeProcess, place_of

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]


def count(cluster: Cluster, portfolio: str) -> int:
    state: dict[str, Any] = json.loads(bytes(cluster.checkpoint(portfolio).state))
    return int(state["components"]["strategy"][2]["count"])


def test_one_that_never_ran_begins_at_the_live_end(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    end = cluster.publish([tick(n, code) for n in range(50)])
    portfolio = cluster.portfolio(config((code,)), node.node_id)
    assert cluster.run(portfolio) == end
    end = cluster.publish([tick(n, code) for n in range(50, 60)])
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="what came since")
    assert count(cluster, portfolio) == 10


def test_an_epoch_that_is_raised_under_it_ends_one_life_and_begins_the_next(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    start = cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(15)])
    eventually(lambda: cluster.orders(portfolio), saying="an order")
    epoch = cluster.assign(portfolio, node.node_id)
    end = cluster.publish([tick(n, code) for n in range(15, 25)])
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="all ticks decided")
    eventually(lambda: len({o.order_id for o in cluster.orders(portfolio)}) == 2, saying="the next order")
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
    orders = cluster.orders(portfolio)
    assert [o.epoch for o in orders if o.order_id == orders[0].order_id] == sorted(
        o.epoch for o in orders if o.order_id == orders[0].order_id
    )
    assert orders[-1].epoch == epoch


def test_stopped_by_its_user_it_goes_on_at_the_live_end_and_cancels_what_was_not_answered(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(10)])
    (order, *_) = eventually(lambda: cluster.orders(portfolio), saying="an order")
    cluster.desire(portfolio, "stopped")
    eventually(lambda: cluster.assignment(portfolio).node_id == "", saying="it given back")
    assert cluster.status(portfolio) == "stopped"
    assert cluster.offset(portfolio, code) == -1
    missed = cluster.publish([tick(n, code) for n in range(10, 50)])
    sent = len(cluster.orders(portfolio))
    cluster.desire(portfolio, "running")
    cluster.assign(portfolio, node.node_id)
    assert cluster.run(portfolio) == missed
    assert count(cluster, portfolio) == 10
    (cancel,) = eventually(lambda: cluster.orders(portfolio)[sent:][:1], saying="the cancel")
    assert isinstance(cancel, OrderCancel)
    assert cancel.order_id == order.order_id


def test_one_that_was_stopped_while_nobody_ran_it_is_given_back_without_a_trade(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=1), node.node_id)
    cluster.run(portfolio)
    cluster.assign(portfolio, "nowhere")
    eventually(lambda: re.search(f"Portfolio {portfolio}.* not ours", node.said()), saying="it dropped")
    cluster.publish([tick(n, code) for n in range(20)])
    cluster.desire(portfolio, "stopped")
    cluster.assign(portfolio, node.node_id)
    eventually(lambda: cluster.assignment(portfolio).node_id == "", saying="it given back")
    assert cluster.orders(portfolio) == []
    assert cluster.offset(portfolio, code) == -1


def test_what_retention_took_is_said_loudly_and_orders_get_new_names(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code(8)
    portfolio = cluster.portfolio(config((code,), every=1), node.node_id)
    cluster.run(portfolio)
    cluster.assign(portfolio, "nowhere")
    cluster.publish([tick(n, code) for n in range(30)])
    admin = KafkaAdminClient(bootstrap_servers=bus.bootstrap().split(","))
    admin.delete_records({TopicPartition(*place_of(code)): cluster.end(*place_of(code))})
    admin.close()
    end = cluster.publish([tick(n, code) for n in range(30, 34)])
    cluster.assign(portfolio, node.node_id)
    eventually(lambda: cluster.offset(portfolio, code) == end, saying="what the log still held")
    assert count(cluster, portfolio) == 4
    assert cluster.checkpoint(portfolio).incarnation == 1
    (gap,) = [a for a in cluster.alerts(portfolio) if a.alert_type == "data_gap"]
    assert gap.severity == "critical"
    assert "past retention" in gap.message


def test_feedback_that_never_came_is_read_from_the_outbox(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(10)])
    (order, *_) = eventually(lambda: cluster.orders(portfolio), saying="an order")
    assert isinstance(order, OrderSubmission)
    lost = answer(1, order.order_id, portfolio)
    with cluster.db():
        OutboxMessage.objects.using(ALIAS).create(
            portfolio_id=portfolio, pseq=1, order_id=order.order_id, message=encode(lost).decode()
        )
    cluster.answer(fill(2, order.order_id, portfolio, price=10.09))
    eventually(lambda: cluster.checkpoint(portfolio).pseq == 2, saying="both applied")
    with cluster.db():
        (row,) = LedgerEntry.objects.using(ALIAS).filter(portfolio_id=portfolio)
    assert (row.pseq, row.volume, str(row.cash_change)) == (2, 100, "-1014.0000")
    assert row.event_time.astimezone(UTC) < datetime.now(UTC)


def test_feedback_that_cannot_be_applied_is_skipped_and_what_follows_is_booked(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(10)])
    (order, *_) = eventually(lambda: cluster.orders(portfolio), saying="an order")
    cluster.answer(answer(1, order.order_id, portfolio, "order_filled", fill_id="without its figures"))
    cluster.answer(fill(2, order.order_id, portfolio))
    eventually(lambda: cluster.checkpoint(portfolio).pseq == 2, timeout=20, saying="the second booked")
    with cluster.db():
        assert [row.pseq for row in LedgerEntry.objects.using(ALIAS).filter(portfolio_id=portfolio)] == [2]
    assert cluster.status(portfolio) == "running"
