"""A portfolio is moved, by an operator's word or because its node is drained: nothing is lost, nothing done twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

import pytest

from tests.integration.live.scheduling import Zone, scheduled
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import Cluster

# Slow: what `make test` has of a move is in test_commands.py and in the scheduler's tests; here it is whole.
pytestmark = [pytest.mark.servers, pytest.mark.slow]
NewCode = Callable[..., str]


@pytest.fixture(scope="module")
def zone(cluster: Cluster) -> Iterator[Zone]:
    with scheduled(cluster, "migration") as zone:
        yield zone


def test_moved_and_driven_out_it_goes_on_where_it_was(cluster: Cluster, zone: Zone, new_code: NewCode) -> None:
    code = new_code()
    nodes = {node.node_id: node for node in zone.nodes("moving-a", "moving-b")}
    portfolio = zone.portfolio(config((code,), every=9))
    source = zone.runs(portfolio, *nodes)
    (target,) = nodes.keys() - {source}
    start = cluster.run(portfolio)
    epoch = cluster.assignment(portfolio).epoch

    cluster.feed([tick(n, code) for n in range(50)])
    asked = cluster.stack.run("scheduler", "migrate", portfolio, "--to", target)
    assert asked.returncode == 0, asked.stderr
    cluster.feed([tick(n, code) for n in range(50, 100)])
    zone.runs(portfolio, target)
    assert cluster.assignment(portfolio).epoch == epoch + 1
    assert "is not ours" not in nodes[source].said(), "it was given, not taken"

    drained = cluster.stack.run("node", "drain", target)
    assert drained.returncode == 0, drained.stderr
    end = cluster.publish([tick(n, code) for n in range(100, 150)])
    zone.runs(portfolio, source)
    assert cluster.assignment(portfolio).epoch == epoch + 2

    eventually(lambda: cluster.offset(portfolio, code) >= end, timeout=30, saying="all read")
    assert bytes(cluster.checkpoint(portfolio).state) == cluster.replay(portfolio, start)
    sent = Counter(order.order_id for order in cluster.orders(portfolio))
    contents = {order.order_id: (order.code, order.cause) for order in cluster.orders(portfolio)}
    assert len(sent) == len(set(contents.values())) == 150 // 9, "each intent under one id, however often it was resent"
