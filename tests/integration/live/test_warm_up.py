"""A strategy on a real node sees its past before the present; a failover finds that in the checkpoint (SPEC P10)."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from market import topic_admin
from market.history.rows import Stand, tick_row
from market.history.schema import DAYS
from market.history.store import Store
from portfolios.kernel.events import PriceUpdate
from tests.nodes.support import MORNING
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of

pytestmark = pytest.mark.servers


def price(number: int, code: str, value: float) -> PriceUpdate:
    return PriceUpdate(code=code, timestamp=MORNING + timedelta(minutes=number), price=value, prev_close=10.0)


def config(code: str, short: int = 1) -> dict[str, Any]:
    return {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": short, "long_period": 4}},
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10_000}},
        "codes": [code],
    }


def memory(cluster: Cluster, portfolio: str) -> list[Any]:
    """Of its one code: window, count, sums, which average is above."""
    (watch,) = json.loads(bytes(cluster.checkpoint(portfolio).state))["watches"]
    found: list[Any] = watch[7]
    return found


def test_it_decides_at_its_first_price_and_neither_a_successor_nor_a_reload_is_told_twice(
    cluster: Cluster, node: NodeProcess, new_code: Callable[..., str]
) -> None:
    code = new_code()
    topic, partition = place_of(code)
    log_id = topic_admin.topic_ids()[topic]
    store = Store(f"sqlite:///{cluster.stack.home / 'history.sqlite3'}", DAYS)

    def remember(numbers: range, offset: int, value: float = 9.9) -> None:
        stands = (Stand(log_id, partition, offset + n, 10**15 + n) for n in range(len(numbers)))
        store.insert("ticks", [tick_row(price(n, code, value), s) for n, s in zip(numbers, stands, strict=True)])

    # Six minutes of falling prices that this portfolio was not there for; the log holds its last two.
    past = [price(n, code, 10.2 - n / 100) for n in range(6)]
    end = cluster.publish(past)
    store.insert(
        "ticks", [tick_row(tick, Stand(log_id, partition, end - 6 + n, 10**15)) for n, tick in enumerate(past)]
    )
    # What history already has of the time after its beginning, it must not see twice.
    remember(range(6, 9), end + 1000)

    portfolio = cluster.portfolio(config(code), node.node_id)
    start = cluster.run(portfolio)
    assert start == end
    assert memory(cluster, portfolio)[0] == [round(tick.price * 10_000) for tick in past[2:]]
    cluster.publish([price(10, code, 10.5)])
    (order,) = eventually(lambda: cluster.orders(portfolio), saying="an order at its first price")
    assert (order.cause, order.direction) == (f"{topic}:{partition}:{end}:0", 1)

    eventually(lambda: cluster.offset(portfolio, code) == end + 1, saying="the price decided")
    before = memory(cluster, portfolio)
    remember(range(11, 20), end - 100)
    epoch = cluster.assign(portfolio, node.node_id)
    eventually(lambda: any(o.epoch == epoch for o in cluster.orders(portfolio)), saying="its next life")
    assert memory(cluster, portfolio) == before

    # Under new periods it begins anew, with the last four prices before the place where it stands.
    version = cluster.reconfigure(portfolio, config(code, short=2))
    eventually(lambda: cluster.checkpoint(portfolio).config_version == version, 20, saying="the new version")
    assert memory(cluster, portfolio)[:2] == [[99_000] * 4, 4]
    store.close()
