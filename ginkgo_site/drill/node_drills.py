"""What can happen to a node: killed, stopped, frozen, cut off, its clock wrong, new."""

from __future__ import annotations

import threading
import time

from django.db import connection

from ginkgo_site.drill import skewed
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.scene import Scene
from market.models import Order
from portfolios import livestate
from scheduler import operations
from scheduler.models import Node
from scheduler.models.node import NodeState

_SKEWS = {"scheduler": 120.0, "engine": -540.0, "drill-1": 420.0, "drill-2": -240.0}
"""Seconds."""
_TRIES = 300


def kill(scene: Scene) -> None:
    _kill(scene, must=5.0)


def kill_usual(scene: Scene) -> None:
    _kill(scene, must=36.0)


def _kill(scene: Scene, must: float) -> None:
    victim = scene.busiest()
    scene.world.kill(victim)
    scene.note(f"kill -9 {victim}")
    scene.took("trade elsewhere after", scene.taken_over(victim), must)


def stop(scene: Scene) -> None:
    victim = scene.busiest()
    code = scene.world.stop(victim)
    scene.note(f"SIGTERM {victim}, exit code {code}")
    if code != 0:
        raise AssertionError(f"{victim} ended with exit code {code}")
    scene.taken_over(victim)


def freeze(scene: Scene) -> None:
    """Past the TTL, taken over, woken: what it then sends must count for nothing."""
    victim = scene.busiest()
    scene.world.freeze(victim)
    scene.note(f"SIGSTOP {victim}")
    scene.note(f"taken over after {scene.taken_over(victim):.1f} s")
    scene.world.thaw(victim)
    scene.note(f"SIGCONT {victim}")
    _pause(5)


def freeze_locked(scene: Scene) -> None:
    """Frozen in the middle of a transaction, so that it holds the locks of what its successor has to write."""
    victim = scene.busiest()
    for attempt in range(1, _TRIES + 1):
        scene.world.freeze(victim)
        if _idle_transactions():
            break
        scene.world.thaw(victim)
        _pause(0.05 + attempt % 7 / 50)
    else:
        raise DrillError(f"{victim} was not found in a transaction in {_TRIES} tries")
    scene.note(f"SIGSTOP {victim}, at the {attempt}. time within a transaction")
    scene.took("trade elsewhere after", scene.taken_over(victim), 30.0)
    scene.world.thaw(victim)
    scene.note(f"SIGCONT {victim}")
    _pause(5)


def _idle_transactions() -> bool:
    """Whether one that has written something waits for its client: the same for a tenth of a second."""
    seen: list[frozenset[int]] = []
    with connection.cursor() as cursor:
        for _ in range(3):
            cursor.execute(
                "SELECT trx_id FROM information_schema.innodb_trx WHERE trx_query IS NULL AND trx_rows_locked > 0"
            )
            seen.append(frozenset(row[0] for row in cursor.fetchall()))
            _pause(0.05)
    return bool(frozenset.intersection(*seen))


def restart(scene: Scene) -> None:
    """Dead, and started again at once under the same id, before anybody has noticed."""
    victim = scene.busiest()
    scene.world.kill(victim)
    scene.world.start(victim)
    scene.note(f"kill -9 {victim}, started again at once")
    scene.world.await_nodes()
    scene.ground.await_running()


def cut_from_redis(scene: Scene) -> None:
    """It fences itself, and is taken over."""
    _cut_off(scene, "redis")


def cut_from_mysql(scene: Scene) -> None:
    """Its heart beats, but it cannot save: it says that it is unhealthy, and is relieved after one TTL."""
    _cut_off(scene, "mysql")


def _cut_off(scene: Scene, server: str) -> None:
    victim = scene.busiest()
    scene.world.cut(server, victim)
    scene.note(f"{victim} cut off from {server}")
    scene.note(f"taken over after {scene.taken_over(victim):.1f} s")
    scene.world.mend(server, victim)
    scene.note(f"{victim} reaches {server} again")
    scene.note(f"it runs again after {scene.world.until(lambda: scene.world.runs(victim), f'{victim} runs'):.1f} s")
    _pause(3)


def new(scene: Scene) -> None:
    """Seen within 10 s of its first heartbeat, and given its share by the next round."""
    newcomer = "drill-new"
    scene.world.start(newcomer)
    scene.note(f"{newcomer} is started")
    key, before = livestate.heartbeat_key(newcomer), scene.ground.epochs()
    scene.world.until(lambda: bool(livestate.client().exists(key)), f"{newcomer} has a heartbeat")

    def seen() -> bool:
        return Node.objects.filter(node_id=newcomer, state=NodeState.ONLINE).exists()

    def balanced() -> bool:
        owners = list(scene.ground.nodes().values())
        counts = [owners.count(node) for node in (*scene.world.nodes, newcomer)]
        return max(counts) - min(counts) <= 1 and sum(counts) == len(owners)

    def trades() -> bool:
        theirs = [p for p, node in scene.ground.nodes().items() if node == newcomer]
        return all(Order.objects.filter(portfolio_id=p, epoch__gt=before[p]).exists() for p in theirs)

    scene.took("seen after", scene.world.until(seen, f"{newcomer} is seen"), 10.0)
    scene.took("has its share after", scene.world.until(balanced, f"{newcomer} has its share"), 10.0)
    scene.note(f"what it got trades there after {scene.world.until(trades, 'its share trades'):.1f} s")
    scene.world.until(lambda: scene.world.runs(newcomer), f"{newcomer} runs")
    code = scene.world.stop(newcomer)
    scene.note(f"SIGTERM {newcomer}, exit code {code}")
    scene.taken_over(newcomer)


def clock_skew(scene: Scene) -> None:
    """Every process has another time of day than the next: failover, moves and the scheduler's own succession."""
    world = scene.world
    for name, skew in _SKEWS.items():
        world.stop(name)
        world.start(name, skew)
        scene.note(f"{name}'s clock is {skew:+g} s off")
    world.await_nodes()
    scene.ground.await_running()
    scene.trades_on()
    portfolio_id, node = next(iter(scene.ground.nodes().items()))
    before = scene.ground.epochs()[portfolio_id]
    target = next(each for each in world.nodes if each != node)
    operations.migrate(portfolio_id, target, issued_by="drill")
    took = world.until(lambda: scene.ground.epochs()[portfolio_id] > before, "moved")
    scene.note(f"moved from {node} to {target} in {took:.1f} s")
    # The next scheduler's clock is behind that of the last one, which held the lease of the round.
    world.kill("scheduler")
    victim = scene.busiest()
    world.kill(victim)
    world.start("scheduler", -480.0)
    scene.note(f"kill -9 scheduler, whose successor is ten minutes behind it, and {victim}")
    begun = time.monotonic()
    scene.taken_over(victim)
    scene.took("trade elsewhere after", time.monotonic() - begun, 60.0)


def no_skew() -> str:
    return "" if skewed.is_possible() else skewed.MISSING


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
