"""What can happen to a node: killed, stopped, frozen, cut off, its clock wrong, new."""

from __future__ import annotations

import signal
import threading
import time
from datetime import UTC, datetime

from django.db import connection

from ginkgo_site.drill import servers, skewed, stepped
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.scene import Scene
from ginkgo_site.drill.stepped import WHERE, Step
from market.models import BrokerOrder, FencedMessage, Order
from portfolios import livestate
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
    """It gives back what it has, and ends within 30 s."""
    victim = scene.busiest()
    begun = time.monotonic()
    code = scene.world.stop(victim)
    scene.took("ended after", time.monotonic() - begun, 30.0)
    scene.note(f"SIGTERM {victim}, exit code {code}")
    if code != 0:
        raise AssertionError(f"{victim} ended with exit code {code}")
    scene.taken_over(victim)


def kill_steps(scene: Scene) -> None:
    """kill -9 at each step around checkpoint and send, by itself: it dies exactly there, with an order in its hand."""
    victim = scene.world.nodes[0]
    for step in Step:
        _start_through(scene, victim, step, signal.SIGKILL)
        scene.world.step.touch()
        scene.world.until(lambda: scene.world.exit_code(victim) is not None, f"{victim} reaches the step {step}")
        code = scene.world.exit_code(victim)
        if code != -signal.SIGKILL or scene.world.step.exists():
            raise AssertionError(f"{victim} ended with exit code {code} and not at the step {step}")
        scene.note(f"kill -9 {victim} {WHERE[step]}")
    scene.world.start(victim)
    scene.world.await_nodes()
    scene.ground.await_running()
    scene.trades_on()


def _start_through(scene: Scene, victim: str, step: Step, number: signal.Signals) -> None:
    """Start it again so that it can be had at a step, and wait until it has its share, which trades."""
    world = scene.world
    if world.alive(victim):
        world.stop(victim)
    world.start(victim, stepped.through(step, number))
    world.until(lambda: world.runs(victim), f"{victim} runs")

    def trades() -> bool:
        theirs = [p for p, node in scene.ground.nodes().items() if node == victim]
        epochs = scene.ground.epochs()
        return bool(theirs) and all(Order.objects.filter(portfolio_id=p, epoch=epochs[p]).exists() for p in theirs)

    world.until(trades, f"what {victim} has trades there")


def freeze(scene: Scene) -> None:
    """Past the TTL, taken over, woken: what it then sends must count for nothing.

    First at any moment; it then knows that its lease is over. Then between its look at the lease and the send: it can
    not know, and the order goes out, of an epoch that is over.
    """
    world = scene.world
    victim = scene.busiest()
    world.freeze(victim)
    scene.note(f"SIGSTOP {victim}")
    scene.note(f"taken over after {scene.taken_over(victim):.1f} s")
    world.thaw(victim)
    scene.note(f"SIGCONT {victim}")
    _start_through(scene, victim, Step.SENDING, signal.SIGSTOP)
    begun = datetime.now(UTC)
    world.step.touch()
    world.until(lambda: world.is_frozen(victim), f"{victim} has an order to send")
    scene.note(f"SIGSTOP {victim} {WHERE[Step.SENDING]}")
    scene.note(f"taken over after {scene.taken_over(victim):.1f} s")
    world.thaw(victim)
    scene.note(f"SIGCONT {victim}")
    late = FencedMessage.objects.filter(portfolio_id__in=scene.ground.codes, received_at__gte=begun)
    world.until(late.exists, "the woken node's order is fenced")
    for order in late:
        _counts_for_nothing(scene, order, begun)
    world.until(lambda: world.runs(victim), f"{victim} runs")


def _counts_for_nothing(scene: Scene, late: FencedMessage, since: datetime) -> None:
    """It is of an epoch that is over, was alerted, and the broker has it, if at all, once and from its successor."""
    if late.epoch >= late.current_epoch:
        raise AssertionError(f"order {late.order_id} was fenced in its own epoch {late.epoch}")
    said = (late.order_id, late.epoch)
    alert = ("order_fenced", since, "order_id", "epoch")
    scene.world.until(lambda: said in scene.alerted(*alert), "the alert is raised", 30.0)
    taken = Order.objects.filter(order_id=late.order_id).first()
    if taken is not None and taken.epoch <= late.epoch:
        raise AssertionError(f"order {late.order_id} was taken from the woken node, of epoch {late.epoch}")
    sent = BrokerOrder.objects.filter(order_id=late.order_id).first()
    if sent is not None and (taken is None or sent.submitted_count != 1):
        raise AssertionError(f"order {late.order_id} of the woken node reached the broker")
    scene.note(f"an order of epoch {late.epoch}, not {late.current_epoch}, was fenced, alerted, and not sent for it")


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


def cut_from_kafka(scene: Scene) -> None:
    """Its heart beats, and it saves, but nothing comes and goes: it says so within 5 s, and is relieved."""
    _cut_off(scene, "kafka", says_so=True)


def no_kafka_to_cut() -> str:
    return "" if "kafka" in servers.addresses() else "no proxy can stand before this Kafka: it says itself where it is"


def _cut_off(scene: Scene, server: str, says_so: bool = False) -> None:
    victim = scene.busiest()
    scene.world.cut(server, victim)
    scene.note(f"{victim} cut off from {server}")
    if says_so:
        key = livestate.node_info_key(victim)
        said = scene.world.until(lambda: livestate.client().hget(key, "state") == "unhealthy", f"{victim} says so")
        scene.took("says so after", said, 5.0)
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
        world.start(name, skewed.through(skew))
        scene.note(f"{name}'s clock is {skew:+g} s off")
    world.await_nodes()
    scene.ground.await_running()
    scene.trades_on()
    move = scene.move(next(iter(scene.ground.codes)))
    scene.note(f"moved from {move.source} to {move.target} in {scene.moved(move):.1f} s")
    # The next scheduler's clock is behind that of the last one, which held the lease of the round.
    world.kill("scheduler")
    victim = scene.busiest()
    world.kill(victim)
    world.start("scheduler", skewed.through(-480.0))
    scene.note(f"kill -9 scheduler, whose successor is ten minutes behind it, and {victim}")
    begun = time.monotonic()
    scene.taken_over(victim)
    scene.took("trade elsewhere after", time.monotonic() - begun, 60.0)


def no_skew() -> str:
    return "" if skewed.is_possible() else skewed.MISSING


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
