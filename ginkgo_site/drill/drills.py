"""The drills by name: what is done to the cluster while orders flow. Each leaves what it broke broken: the world is
restored, and the books are judged, afterwards.
"""

from __future__ import annotations

import os
import random
import signal
import threading
from collections.abc import Callable
from dataclasses import dataclass

from ginkgo_site.drill.ground import Ground, config
from ginkgo_site.drill.world import World
from market import bus, topics
from portfolios import livestate, services
from scheduler import operations


@dataclass
class Scene:
    """One drill as it runs: `note` keeps what was done, for the report."""

    world: World
    ground: Ground
    note: Callable[[str], None]

    def busiest(self) -> str:
        """The node that owns most of the drill's portfolios."""
        owners = list(self.ground.nodes().values())
        return max(self.world.nodes, key=owners.count)

    def taken_over(self, from_node: str, timeout: float = 60.0) -> float:
        """Wait until nothing is that node's any more and all runs; the seconds it took."""

        def relieved() -> bool:
            return from_node not in self.ground.nodes().values()

        seconds = self.world.until(relieved, f"{from_node} is relieved", timeout)
        return seconds + self.ground.await_running()


@dataclass(frozen=True)
class Drill:
    """`pause`: the seconds that a portfolio may be silent with the fast profile, None where the SPEC sets no bound."""

    what: str
    run: Callable[[Scene], None]
    pause: float | None = None
    embedded_only: bool = False


def node_kill(scene: Scene) -> None:
    victim = scene.busiest()
    scene.world.kill(victim)
    scene.note(f"kill -9 {victim}")
    scene.note(f"all runs elsewhere after {scene.taken_over(victim):.1f} s")


def node_stop(scene: Scene) -> None:
    victim = scene.busiest()
    code = scene.world.stop(victim)
    scene.note(f"SIGTERM {victim}, exit code {code}")
    scene.taken_over(victim)


def node_freeze(scene: Scene) -> None:
    """Past the TTL, taken over, woken: what it then sends must count for nothing."""
    victim = scene.busiest()
    scene.world.freeze(victim)
    scene.note(f"SIGSTOP {victim}")
    scene.taken_over(victim)
    scene.world.thaw(victim)
    scene.note(f"SIGCONT {victim}")
    _pause(5)


def node_restart(scene: Scene) -> None:
    """Dead, and started again at once under the same id, before anybody has noticed."""
    victim = scene.busiest()
    scene.world.kill(victim)
    scene.world.start(victim)
    scene.note(f"kill -9 {victim}, started again at once")
    scene.world.await_nodes()
    scene.ground.await_running()


def engine_kill(scene: Scene) -> None:
    for _ in range(3):
        scene.world.kill("engine")
        scene.world.start("engine")
        scene.note("kill -9 engine, started again")
        _pause(4)


def engine_freeze(scene: Scene) -> None:
    scene.world.freeze("engine")
    scene.note("SIGSTOP engine for 12 s")
    _pause(12)
    scene.world.thaw("engine")


def scheduler_kill(scene: Scene) -> None:
    """In the middle of planned moves."""
    nodes = scene.world.nodes
    for portfolio_id, node in scene.ground.nodes().items():
        target = nodes[(nodes.index(node) + 1) % len(nodes)] if node in nodes else nodes[0]
        operations.migrate(portfolio_id, target, issued_by="drill")
    scene.world.kill("scheduler")
    scene.note("kill -9 scheduler with moves under way")
    _pause(2)
    scene.world.start("scheduler")
    _pause(8)
    scene.ground.await_running()


def redis_restart(scene: Scene) -> None:
    scene.world.kill_server("valkey")
    scene.note("kill -9 redis")
    _redis_back(scene)


def redis_empty(scene: Scene) -> None:
    before = scene.ground.nodes()
    livestate.client().flushall()
    scene.world.kill_server("valkey")
    scene.note("redis emptied and killed")
    _redis_back(scene)
    moved = [p for p, node in scene.ground.nodes().items() if node != before[p]]
    if moved:
        raise AssertionError(f"{len(moved)} portfolios of living nodes were failed over")


def redis_gone(scene: Scene) -> None:
    before = scene.ground.nodes()
    pid = scene.world.server("valkey")
    assert pid is not None
    os.kill(pid, signal.SIGSTOP)
    scene.note("SIGSTOP redis for 20 s")
    _pause(20)
    os.kill(pid, signal.SIGCONT)
    _redis_back(scene)
    moved = [p for p, node in scene.ground.nodes().items() if node != before[p]]
    if moved:
        raise AssertionError(f"{len(moved)} portfolios of living nodes were failed over")


def kafka_restart(scene: Scene) -> None:
    scene.world.kill_server("kafka")
    scene.note("kill -9 kafka")
    _pause(10)


def node_from_redis(scene: Scene) -> None:
    """A node that alone cannot reach Redis: it fences itself, and is taken over."""
    victim = scene.busiest()
    scene.world.proxies[victim].cut()
    scene.note(f"{victim} cut off from redis")
    scene.taken_over(victim)
    scene.world.proxies[victim].mend()
    scene.note(f"{victim} reaches redis again")
    _pause(5)


def migration(scene: Scene) -> None:
    """Every portfolio moved, several times over."""
    nodes = scene.world.nodes
    for _ in range(3):
        for portfolio_id, node in scene.ground.nodes().items():
            target = nodes[(nodes.index(node) + 1) % len(nodes)]
            answer = operations.migrate(portfolio_id, target, issued_by="drill")
            if not answer.accepted:
                scene.note(f"move refused: {answer.reason}")
                continue
            scene.world.until(lambda p=portfolio_id, t=target: scene.ground.nodes()[p] == t, f"moved to {target}")  # type: ignore[misc]
            scene.ground.await_running([portfolio_id])
    scene.note(f"each of {len(scene.ground.codes)} portfolios moved three times")


def reload(scene: Scene) -> None:
    """Every portfolio's configuration changed while orders flow, a hundred changes in ten seconds for one."""
    every = 18
    for portfolio_id, codes in scene.ground.codes.items():
        services.update_config(portfolio_id, config(codes, every), None)
        _pause(0.5)
    first = next(iter(scene.ground.codes))
    for number in range(100):
        services.update_config(first, config(scene.ground.codes[first], 15 + number % 4), None)
        _pause(0.1)
    _pause(3)
    scene.note("every portfolio reloaded, one of them a hundred times in 10 s")


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

DRILLS = {
    "node-kill": Drill("kill -9 of a node: its portfolios run elsewhere", node_kill, pause=8.0),
    "node-stop": Drill("SIGTERM: a node gives its portfolios back", node_stop),
    "node-restart": Drill("a node that dies and is back at once", node_restart),
    "node-freeze": Drill("SIGSTOP past the TTL, take-over, SIGCONT", node_freeze),
    "node-redis": Drill("a partition between one node and Redis", node_from_redis),
    "engine-kill": Drill("kill -9 of the engine, three times", engine_kill),
    "engine-freeze": Drill("SIGSTOP of the engine", engine_freeze),
    "scheduler-kill": Drill("kill -9 of the scheduler in the middle of moves", scheduler_kill),
    "redis-restart": Drill("kill -9 of Redis", redis_restart, embedded_only=True),
    "redis-empty": Drill("Redis restarted empty: no living node is failed over", redis_empty, embedded_only=True),
    "redis-gone": Drill("Redis silent for 20 s", redis_gone, embedded_only=True),
    "kafka-restart": Drill("kill -9 of Kafka under load", kafka_restart, embedded_only=True),
    "migration": Drill("every portfolio moved, and moved back", migration),
    "reload": Drill("configurations changed under load, a hundred at once", reload),
    "poison": Drill("messages that are none", poison),
}


def _redis_back(scene: Scene) -> None:
    def back() -> bool:
        client = livestate.client()
        return all(client.exists(livestate.heartbeat_key(node)) for node in scene.world.nodes)

    scene.note(f"all heartbeats back after {scene.world.until(back, 'redis and the heartbeats are back'):.1f} s")
    scene.ground.await_running()


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
