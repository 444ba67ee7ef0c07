"""A node is killed: its portfolios run elsewhere with all that they had, and when it is back it gets its share."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from portfolios import livestate, loads
from scheduler.models import Node, Plan
from tests.integration.live.scheduling import Zone, scheduled
from tests.nodes.support import config, tick
from tests.support import eventually
from tests.support.cluster import ALIAS, Cluster

pytestmark = pytest.mark.servers
NewCode = Callable[..., str]


@pytest.fixture(scope="module")
def zone(cluster: Cluster) -> Iterator[Zone]:
    with scheduled(cluster, "failover") as zone:
        yield zone


def test_killed_it_is_succeeded_without_a_loss_and_back_it_gets_its_share(
    cluster: Cluster, zone: Zone, new_code: NewCode
) -> None:
    codes = [new_code(), new_code()]
    nodes = {node.node_id: node for node in zone.nodes("failing-a", "failing-b")}
    ours = [zone.portfolio(config((code,), every=7)) for code in codes]
    homes = [zone.runs(one, *nodes) for one in ours]
    assert sorted(homes) == ["failing-a", "failing-b"], "one each"
    starts = [cluster.run(one) for one in ours]
    for code in codes:
        cluster.publish([tick(n, code) for n in range(40)])
    (lost, code, start), victim = (ours[0], codes[0], starts[0]), nodes[homes[0]]
    before = cluster.assignment(lost).epoch

    victim.kill()
    end = cluster.publish([tick(n, code) for n in range(40, 80)])  # nobody listens
    successor = zone.runs(lost, homes[1])
    assert cluster.assignment(lost).epoch == before + 1
    eventually(lambda: cluster.offset(lost, code) >= end, timeout=30, saying="all read")
    assert bytes(cluster.checkpoint(lost).state) == cluster.replay(lost, start)
    assert cluster.redis.exists(livestate.metrics_key(victim.node_id)) == 0
    alert = eventually(lambda: cluster.alerts(f"Node {victim.node_id} has sent no heartbeat"), saying="an alert")[0]
    assert (alert.alert_type, alert.severity) == ("node_offline", "critical")
    with cluster.db():
        assert Node.objects.using(ALIAS).get(node_id=victim.node_id).state == "offline"
        reasons = [m["reason"] for p in Plan.objects.using(ALIAS)[:5] for m in p.moves if m["portfolio_id"] == lost]
    assert any(f"node {victim.node_id} is offline; {successor} is the least loaded" in reason for reason in reasons)

    stayed = ours[1]
    eventually(lambda: stayed in loads.read(cluster.redis), timeout=20, saying="its load measured where it stayed")

    (again,) = zone.nodes(victim.node_id)
    eventually(lambda: again.node_id in map(zone.owner, ours), timeout=30, saying="its share")
    one = next(p for p in ours if zone.owner(p) == again.node_id)
    zone.runs(one, again.node_id)
    index = ours.index(one)
    end = cluster.publish([tick(n, codes[index]) for n in range(80, 100)])
    eventually(lambda: cluster.offset(one, codes[index]) >= end, timeout=30, saying="it goes on")
    assert bytes(cluster.checkpoint(one).state) == cluster.replay(one, starts[index])
