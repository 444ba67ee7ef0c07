"""What an operator or the market can do to a healthy cluster: moves, reloads, nonsense, one portfolio that is slow."""

from __future__ import annotations

import random
import threading
import time

from ginkgo_site.bench.figures import percentile
from ginkgo_site.drill import delays
from ginkgo_site.drill.ground import config
from ginkgo_site.drill.scene import Scene
from market import bus, topics
from portfolios import services
from portfolios.models import Checkpoint
from scheduler import operations

_WINDOW_S = 12.0
_ROUNDS = 3


def migration(scene: Scene) -> None:
    """Every portfolio moved, several times over. The scheduler may balance what we move, but not before it is there."""
    took: list[float] = []
    for _ in range(_ROUNDS):
        for portfolio_id in scene.ground.codes:
            took.append(scene.moved(scene.move(portfolio_id)))
            scene.trades_on([portfolio_id])
    scene.note(f"{len(took)} moves of {len(scene.ground.codes)} portfolios, the longest {max(took):.1f} s")


def reload(scene: Scene) -> None:
    """Every portfolio's configuration changed while orders flow, a hundred changes in ten seconds for one."""
    every = scene.every
    for portfolio_id, codes in scene.ground.codes.items():
        services.update_config(portfolio_id, config(codes, every, amount=20_000), None)
        _pause(0.5)
    scene.note("every portfolio has a new configuration")
    first = next(iter(scene.ground.codes))
    begun = time.monotonic()
    for number in range(100):
        services.update_config(first, config(scene.ground.codes[first], every, amount=10_000 + 1000 * number), None)
        _pause(max(0.0, begun + number / 10 - time.monotonic()))
    scene.note(f"one of them a hundred more in {time.monotonic() - begun:.1f} s")
    newest = {p: services.get(p).version for p in scene.ground.codes}

    def taken_over() -> bool:
        rows = Checkpoint.objects.filter(portfolio_id__in=newest).values_list("portfolio_id", "config_version")
        return {str(p): version for p, version in rows} == newest

    scene.took("all run under the newest after", scene.world.until(taken_over, "the newest version runs"), 30.0)
    scene.trades_on()


def poison(scene: Scene) -> None:
    """Messages that are none, on every topic that a portfolio or the engine reads."""
    producer = bus.make_producer("drill.poison")
    rng = random.Random(1)
    for value in _POISON:
        for portfolio_id, codes in scene.ground.codes.items():
            producer.produce(topics.market_topic(codes[0]), key=rng.choice(codes), value=value)
            producer.produce(topics.ORDERS_SUBMISSION, key=portfolio_id, value=value)
            producer.produce(topics.ORDERS_FEEDBACK, key=portfolio_id, value=value)
    producer.flush(10)
    scene.note("six kinds of poison on market data, submissions and feedback")
    _pause(5)


_POISON = (
    b"", b"\xff\xfe", b"{", b"[" * 50_000, b'{"event_type":"price_update"}', b'{"event_type":"nonsense"}',
)  # fmt: skip


def slow_portfolio(scene: Scene) -> None:
    """Five on one node. One waits 200 ms an event in every other window: the four others must not be able to tell."""
    world, ground = scene.world, scene.ground
    home, away = world.nodes[0], world.nodes[1:]
    for node in away:
        operations.drain(node, issued_by="drill")
    try:
        world.until(lambda: set(ground.nodes().values()) == {home}, f"all are on {home}")
        scene.trades_on()
        windows: dict[bool, list[tuple[float, float]]] = {False: [], True: []}
        for _ in range(_ROUNDS):
            for waits in (False, True):
                world.slow.touch() if waits else world.slow.unlink(missing_ok=True)
                windows[waits].append(delays.window(_WINDOW_S))
        world.slow.unlink(missing_ok=True)
    finally:
        for node in away:
            operations.enable(node)
    quick = {p: codes for p, codes in ground.codes.items() if p != ground.slow}
    taken = delays.of(quick)
    calm, beside = (percentile(delays.within(taken, windows[waits]), 99) for waits in (False, True))
    scene.note(f"p99 from tick to order: {calm:.0f} ms, {beside:.0f} ms beside the slow one")
    scene.took("p99 beside the slow one, of that without", beside / calm, 1.2, "times")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
