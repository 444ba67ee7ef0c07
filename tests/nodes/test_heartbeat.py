"""On a real Redis."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
import redis

from nodes.heartbeat import Heartbeat, decisions_key
from nodes.identity import Identity, of_this_process
from nodes.lease import Lease
from portfolios import livestate, loads
from portfolios.loads import Measured
from tests.nodes.support import Clock
from tests.support import eventually
from tests.support.stack import RunningStack


class Scene:
    def __init__(self, interval: float = 10, ttl: float = 30) -> None:
        self.clock = Clock()
        self.lease = Lease(ttl, self.clock)
        self.me: Identity = of_this_process(f"n-{uuid4().hex[:8]}")
        self.views: dict[str, Any] = {}
        self.measured: dict[str, Measured] = {}
        self.watched = 0
        self.replaced = 0
        self.redis: redis.Redis = livestate.client()
        self.heart = Heartbeat(
            self.me, self.lease, interval, ttl, info=lambda: {"instance": self.me.instance, "state": "running"},
            metrics=lambda: {"portfolio_count": "3"}, views=lambda: self.views, watch=self._watch,
            on_replaced=self._replace, measured=lambda: self.measured,
        )  # fmt: skip

    def _watch(self) -> None:
        self.watched += 1

    def _replace(self) -> None:
        self.replaced += 1

    @property
    def keys(self) -> list[str]:
        node = self.me.node_id
        return [livestate.heartbeat_key(node), livestate.node_info_key(node), livestate.metrics_key(node)]


@pytest.fixture
def scene(stack: RunningStack) -> Scene:
    return Scene()


def test_a_beat_writes_all_of_it_and_renews_the_lease(scene: Scene) -> None:
    scene.heart.step()
    assert scene.redis.exists(*scene.keys) == 3
    assert 29_000 < int(scene.redis.pttl(scene.keys[0])) <= 30_000  # type: ignore[arg-type]
    assert scene.lease.left == 25
    assert scene.watched == 1


def test_between_two_beats_it_only_watches(scene: Scene) -> None:
    scene.heart.step()
    first = scene.redis.get(scene.keys[0])
    scene.heart.step()
    assert scene.redis.get(scene.keys[0]) == first
    assert scene.watched == 2


def test_while_redis_is_away_the_lease_runs_out_and_it_watches_on(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away() -> redis.Redis:
        raise redis.ConnectionError("refused")

    monkeypatch.setattr(scene.heart, "client", away)
    scene.heart.step()
    scene.heart.step()
    assert not scene.lease.valid
    assert scene.watched == 2
    assert caplog.text.count("Redis was not told") == 1


def test_after_a_failure_the_next_beat_does_not_wait_for_its_interval(stack: RunningStack) -> None:
    scene = Scene(interval=0.4)
    client: Callable[[], redis.Redis] = scene.heart.client
    failures = [redis.ConnectionError("refused")]

    def once_away() -> redis.Redis:
        if failures:
            raise failures.pop()
        return client()

    scene.heart.client = once_away  # type: ignore[method-assign]
    scene.heart.step()
    eventually(lambda: scene.heart.step() or scene.lease.valid, timeout=0.3, interval=0.01, saying="the next beat")


def test_portfolios_are_published_with_their_decisions(scene: Scene) -> None:
    portfolio = str(uuid4())
    scene.views = {portfolio: ({"cash": "10"}, [b'{"kind":"order"}', b'{"kind":"veto"}'])}
    scene.heart.step()
    state = scene.redis.hgetall(livestate.state_key(portfolio))
    assert state["cash"] == "10"  # type: ignore[index]
    assert "updated_at" in state  # type: ignore[operator]
    assert scene.redis.llen(decisions_key(portfolio)) == 2


def test_a_state_that_its_portfolio_no_longer_renews_grows_old(scene: Scene) -> None:
    portfolio = str(uuid4())
    key = livestate.state_key(portfolio)
    scene.views = {portfolio: ({"cash": "10"}, [])}
    scene.heart.step()
    first = scene.redis.hget(key, "updated_at")
    scene.heart.step()
    assert scene.redis.hget(key, "updated_at") == first
    scene.views = {portfolio: ({"cash": "10"}, [])}
    scene.heart.step()
    assert scene.redis.hget(key, "updated_at") != first


def test_what_its_portfolios_cost_is_told(stack: RunningStack) -> None:
    scene, portfolio = Scene(), str(uuid4())
    scene.measured = {portfolio: Measured(120.5, 3.0, 0.0)}
    scene.views = {portfolio: ({"cash": "10"}, [])}
    scene.heart.step()
    assert loads.read(scene.redis)[portfolio] == Measured(120.5, 3.0, 0.0)
    loads.forget(scene.redis, [portfolio])
    assert portfolio not in loads.read(scene.redis)


def test_a_status_that_redis_has_lost_is_told_again_and_one_it_has_is_left_alone(scene: Scene) -> None:
    lost, there = str(uuid4()), str(uuid4())
    scene.redis.set(livestate.status_key(there), "stopping")
    scene.views = {lost: ({"cash": "1"}, []), there: ({"cash": "1"}, [])}
    scene.heart.step()
    assert scene.redis.get(livestate.status_key(lost)) == "running"
    assert scene.redis.get(livestate.status_key(there)) == "stopping"


def test_one_whose_id_was_taken_meanwhile_neither_beats_nor_deletes(scene: Scene) -> None:
    scene.heart.step()
    other = {"instance": "another", "state": "running"}
    scene.redis.hset(scene.keys[1], mapping=other)
    scene.redis.set(scene.keys[0], "its beat")
    left = scene.lease.left
    scene.clock.now += 5
    scene.heart.beat()
    assert scene.replaced == 1
    assert scene.redis.get(scene.keys[0]) == "its beat"
    assert scene.lease.left == left - 5
    scene.heart.leave()
    assert scene.redis.hgetall(scene.keys[1]) == other


def test_the_first_beat_takes_the_place_of_a_dead_predecessor(scene: Scene) -> None:
    scene.redis.hset(scene.keys[1], mapping={"instance": "dead"})
    scene.heart.beat()
    assert scene.replaced == 0
    assert scene.redis.hget(scene.keys[1], "instance") == scene.me.instance


def test_leaving_it_takes_its_keys_along(scene: Scene) -> None:
    scene.heart.beat()
    scene.heart.leave()
    assert scene.redis.exists(*scene.keys) == 0


def test_leaving_in_order_is_told_until_the_node_is_back(scene: Scene) -> None:
    left = livestate.node_left_key(scene.me.node_id)
    scene.heart.beat()
    assert not scene.redis.exists(left)
    scene.heart.leave()
    assert scene.redis.get(left) == scene.me.instance
    successor = Scene()
    successor.me = scene.me
    successor.heart._identity = scene.me
    successor.heart.beat()
    assert not scene.redis.exists(left)


def test_told_to_tell_it_waits_for_a_beat_under_way_and_says_the_newest(scene: Scene) -> None:
    said = ["running"]
    taken, go_on = threading.Event(), threading.Event()

    def info() -> dict[str, str]:
        state = said[0]
        if state == "running":
            taken.set()
            assert go_on.wait(5)
        return {"instance": scene.me.instance, "state": state}

    scene.heart._info = info
    earlier, later = threading.Thread(target=scene.heart.beat), threading.Thread(target=scene.heart.tell)
    earlier.start()
    assert taken.wait(5)
    said[0] = "stopping"
    later.start()
    later.join(0.2)
    go_on.set()
    for thread in (earlier, later):
        thread.join(5)
    assert scene.redis.hget(scene.keys[1], "state") == "stopping"


def test_its_thread_beats_until_it_is_stopped(stack: RunningStack) -> None:
    scene = Scene(interval=0.2, ttl=1)
    seen: set[object] = set()
    scene.heart.start()
    eventually(lambda: seen.add(scene.redis.get(scene.keys[0])) or len(seen - {None}) >= 3, saying="three beats")  # type: ignore[func-returns-value]
    scene.heart.request_stop()
    scene.heart.join(5)
    assert not scene.heart.died
