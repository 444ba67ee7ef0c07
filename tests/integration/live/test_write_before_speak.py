"""An order leaves only after the checkpoint that contains it is committed, and never twice with other contents."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable

import pytest

from tests.nodes.support import answer, config, fill, tick
from tests.support import eventually
from tests.support.cluster import Cluster, NodeProcess, place_of

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]
Spare = Callable[[], NodeProcess]


def test_an_order_is_sent_and_is_in_the_checkpoint(cluster: Cluster, node: NodeProcess, new_code: NewCode) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    start = cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(10)])
    (order,) = eventually(lambda: cluster.orders(portfolio), saying="an order")
    assert (order.epoch, order.cause) == (1, f"ginkgo.live.market.data:{place_of(code)[1]}:{start + 9}:0")
    assert order.order_id.encode() in bytes(cluster.checkpoint(portfolio).state)


def test_while_its_checkpoint_cannot_be_written_no_order_leaves(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    cluster.run(portfolio)
    with cluster.locked(portfolio):
        before = node.metric("total_events")
        cluster.publish([tick(n, code) for n in range(10)])
        eventually(lambda: node.metric("total_events") >= before + 10, saying="the ticks applied")
        assert cluster.orders(portfolio) == []
    eventually(lambda: len(cluster.orders(portfolio)) == 1, saying="the order, once it is written")


def test_answers_are_booked_and_what_is_unanswered_is_sent_again_unchanged(
    cluster: Cluster, node: NodeProcess, new_code: NewCode
) -> None:
    code = new_code()
    portfolio = cluster.portfolio(config((code,), every=10), node.node_id)
    cluster.run(portfolio)
    cluster.publish([tick(n, code) for n in range(20)])
    eventually(lambda: len({o.order_id for o in cluster.orders(portfolio)}) == 2, saying="two orders")
    first, second = cluster.orders(portfolio)[:2]
    cluster.answer(answer(1, first.order_id, portfolio))
    cluster.answer(fill(2, first.order_id, portfolio, price=10.09))
    eventually(lambda: cluster.checkpoint(portfolio).pseq == 2, saying="both answers applied and saved")
    sent = len(cluster.orders(portfolio))
    eventually(lambda: len(cluster.orders(portfolio)) > sent, saying="the second order once more")
    again = cluster.orders(portfolio)[sent:]
    assert {o.order_id for o in again} == {second.order_id}
    assert all(o == second for o in again)


@pytest.mark.timeout(120)
def test_killed_at_random_moments_it_goes_on_from_its_checkpoint(
    cluster: Cluster, spare: Spare, new_code: NewCode
) -> None:
    """Every tick is applied exactly once in the history that survives, and no id ever names two orders."""
    chance = random.Random(7)
    codes = [new_code(3), new_code(3), new_code(9)]
    node = spare()
    victim = node.node_id
    portfolios = [cluster.portfolio(config((code,), every=100), victim) for code in codes]
    starts = [cluster.run(portfolio) for portfolio in portfolios]
    done = threading.Event()
    numbers = iter(range(10**9))

    def feed() -> None:
        while not done.wait(0.05):
            first = next(numbers) * 20
            for code in codes:
                cluster.feed([tick(n % 200_000, code) for n in range(first, first + 20)])

    feeding = threading.Thread(target=feed)
    feeding.start()
    try:
        for _ in range(2):
            progress = cluster.offset(portfolios[0], codes[0])
            eventually(lambda p=progress: cluster.offset(portfolios[0], codes[0]) > p + 100, saying="progress")  # type: ignore[misc]
            threading.Event().wait(chance.random())  # any moment is as good as another: that is the point
            node.kill()
            node = cluster.start(victim)
        progress = cluster.offset(portfolios[0], codes[0])
        eventually(lambda: cluster.offset(portfolios[0], codes[0]) > progress, saying="progress after the last kill")
    finally:
        done.set()
        feeding.join()
    for portfolio, code, start in zip(portfolios, codes, starts, strict=True):
        end = cluster.publish([tick(0, code)])
        eventually(lambda p=portfolio, c=code, e=end: cluster.offset(p, c) == e, saying="all ticks decided")  # type: ignore[misc]
        assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
        contents: dict[str, object] = {}
        for order in cluster.orders(portfolio):
            same = {**{f: getattr(order, f) for f in order.__struct_fields__}, "epoch": None}
            assert contents.setdefault(order.order_id, same) == same
        assert cluster.assignment(portfolio).epoch == 3  # one for each start
