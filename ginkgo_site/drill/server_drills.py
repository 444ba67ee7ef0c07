"""What can happen to the engine, the scheduler and the servers: killed, frozen, emptied, silent, full."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from django.conf import settings

from ginkgo_site.drill import servers
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.scene import Scene
from market import bus
from market.models import LogDebt, Order
from market.submissions import GROUP
from portfolios import livestate
from scheduler.models import PlannedMove

_SESSION_S = 14.0
"""Longer than the session of an engine in its consumer group."""
_TRIES = 10
_SMALL = 2 * 1024**3
"""Bytes: a disk with more room than this is not one that was made to be filled."""


def engine_kill(scene: Scene) -> None:
    for _ in range(3):
        scene.world.kill("engine")
        scene.world.start("engine")
        scene.note("kill -9 engine, started again")
        _pause(4)
    scene.trades_on()


def engine_freeze(scene: Scene) -> None:
    scene.world.freeze("engine")
    scene.note("SIGSTOP engine for 12 s")
    _pause(12)
    scene.world.thaw("engine")
    scene.trades_on()


def two_engines(scene: Scene) -> None:
    """One is frozen past its session in their group: the other takes what was its own, and it wakes."""
    world, second = scene.world, "engine-2"
    world.start(second)
    share = world.until(lambda: len(_partitions()) == 2 and all(_partitions()), "two engines share the partitions")
    scene.note(f"{second} has its share after {share:.1f} s")
    scene.trades_on()
    world.freeze("engine")
    scene.note("SIGSTOP engine")
    begun = time.monotonic()
    world.until(lambda: len(_partitions()) == 1, f"{second} has all partitions")
    scene.note(f"{second} has all partitions after {time.monotonic() - begun:.1f} s")
    scene.trades_on()
    scene.took("every portfolio trades after", time.monotonic() - begun, 30.0)
    world.thaw("engine")
    scene.note("SIGCONT engine")
    world.until(lambda: len(_partitions()) == 2 and all(_partitions()), "two engines share the partitions again")
    scene.trades_on()
    world.kill("engine")
    scene.note("kill -9 engine")
    scene.trades_on()


def _partitions() -> list[int]:
    """How many partitions of the log each engine has, as their group says."""
    admin = AdminClient({"bootstrap.servers": bus.bootstrap(), "log_level": 0})
    try:
        group = admin.describe_consumer_groups([GROUP], request_timeout=5)[GROUP].result()
    except KafkaException:
        return []
    return [len(each.assignment.topic_partitions) for each in group.members if each.assignment is not None]


def scheduler_kill(scene: Scene) -> None:
    """In the middle of planned moves: some are not over when it dies, and all are in the end."""
    world = scene.world
    for _ in range(_TRIES):
        asked = [scene.move(portfolio_id) for portfolio_id in scene.ground.codes]
        world.kill("scheduler")
        left = _moves(scene)
        if left:
            break
        world.start("scheduler")
        for move in asked:
            scene.moved(move)
    else:
        raise DrillError(f"no move was under way when the scheduler was killed, in {_TRIES} tries")
    scene.note(f"kill -9 scheduler with {left} of {len(asked)} moves under way")
    _pause(2)
    world.start("scheduler")
    for move in asked:
        scene.moved(move)
    world.until(lambda: not _moves(scene), "no move is under way")
    scene.note("all of them are over")
    scene.ground.await_running()
    scene.trades_on()


def _moves(scene: Scene) -> int:
    return PlannedMove.objects.filter(portfolio_id__in=scene.ground.codes).count()


def redis_restart(scene: Scene) -> None:
    servers.kill(scene.world.home, "redis")
    scene.note("kill -9 redis")
    _redis_back(scene)


def redis_empty(scene: Scene) -> None:
    before = scene.ground.epochs()
    livestate.client().flushall()
    servers.kill(scene.world.home, "redis")
    scene.note("redis emptied and killed")
    _redis_back(scene)
    _pause(5)  # more than the TTL of heartbeats that would be missed now
    scene.nobody_was_failed_over(before)


def redis_gone(scene: Scene) -> None:
    before = scene.ground.epochs()
    scene.world.cut("redis")
    scene.note("redis silent for 20 s")
    _pause(20)
    scene.world.mend("redis")
    _redis_back(scene)
    _pause(5)
    scene.nobody_was_failed_over(before)


def _redis_back(scene: Scene) -> None:
    """All heartbeats, all that nodes, portfolios, scheduler and engine say of themselves: within 15 s."""
    nodes, ids = scene.world.nodes, scene.ground.codes
    wanted = [
        *(key(node) for node in nodes for key in (livestate.heartbeat_key, livestate.node_info_key,
                                                  livestate.metrics_key)),
        *(key(each) for each in ids for key in (livestate.status_key, livestate.state_key)),
        livestate.PLAN, livestate.SCHEDULER_STATUS, livestate.ENGINE_STATUS,
    ]  # fmt: skip

    def back() -> bool:
        return int(livestate.client().exists(*wanted)) == len(wanted)  # type: ignore[arg-type]

    scene.took("all keys are back after", scene.world.until(back, "all keys are back in Redis"), 15.0)
    scene.trades_on()


def kafka_restart(scene: Scene) -> None:
    was = servers.kill(scene.world.home, "kafka")
    scene.note("kill -9 kafka")
    away = scene.world.until(lambda: servers.is_back(scene.world.home, "kafka", was), "Kafka is back")
    scene.note(f"it is back after {away:.1f} s")
    scene.took("every portfolio trades after", scene.trades_on(), 15.0)


def kafka_gone(scene: Scene) -> None:
    """Frozen: nodes and engine say so within 5 s, and what may go straight to the engine does.

    Without Kafka there are no prices: one portfolio is behind by then, and goes on deciding.
    """
    number = servers.pid(scene.world.home, "kafka")
    assert number is not None
    scene.world.slow.touch()
    _pause(6)
    before = _count(scene)
    os.kill(number, signal.SIGSTOP)
    try:
        scene.note("SIGSTOP kafka for 25 s")
        begun = time.monotonic()
        scene.took("all say so after", scene.world.until(lambda: _say_kafka_is_away(scene), "all say so"), 5.0)
        # By then the engine has lost its partitions: the group, too, is away.
        _pause(_SESSION_S - (time.monotonic() - begun))
        early = _owed(scene)
        _pause(25 - (time.monotonic() - begun))
        straight = _owed(scene)
        scene.note(
            f"{_count(scene) - before} orders taken in meanwhile, {straight} of them straight from a node, "
            f"{straight - early} after {_SESSION_S:g} s"
        )
        if not 0 < early < straight:
            raise AssertionError(f"{early} orders went straight to the engine, and {straight - early} later on")
    finally:
        scene.world.slow.unlink(missing_ok=True)
        os.kill(number, signal.SIGCONT)
    scene.took("every portfolio trades after", scene.trades_on(), 15.0)


def _say_kafka_is_away(scene: Scene) -> bool:
    return _all_unhealthy(scene) and livestate.client().hget(livestate.ENGINE_STATUS, "kafka") == "away"


def _all_unhealthy(scene: Scene) -> bool:
    client = livestate.client()
    return {client.hget(livestate.node_info_key(node), "state") for node in scene.world.nodes} == {"unhealthy"}


def _owed(scene: Scene) -> int:
    return LogDebt.objects.filter(portfolio_id__in=scene.ground.codes).count()


def mysql_restart(scene: Scene) -> None:
    was = servers.kill(scene.world.home, "mysql")
    scene.note("kill -9 mysql")
    away = scene.world.until(lambda: servers.is_back(scene.world.home, "mysql", was), "MySQL is back")
    scene.note(f"it is back after {away:.1f} s")
    scene.took("every portfolio trades after", scene.trades_on(), 30.0)
    _nothing_ended(scene)


def mysql_gone(scene: Scene) -> None:
    """Nobody can decide or take in an order, nobody ends, and all goes on where it was."""
    before, epochs = _count(scene), scene.ground.epochs()
    scene.world.cut("mysql")
    begun = _count(scene)
    scene.note("mysql silent for 25 s")
    _pause(25)
    if (taken := _count(scene) - begun) > 0:
        raise AssertionError(f"{taken} orders were taken in while nobody reached MySQL")
    scene.note(f"{begun - before} orders were taken in before, none since")
    scene.world.mend("mysql")
    scene.took("every portfolio trades after", scene.trades_on(), 30.0)
    _nothing_ended(scene)
    scene.nobody_was_failed_over(epochs)


def disk_full(scene: Scene) -> None:
    """The database is a file: the processes can write to none. It is a server: its disk is filled.

    Writes fail, of nodes or, where checkpoints need no more room, of the engine alone: it is said, and nothing ends. To
    a file nothing can be written, so no order is taken in; a server may make room in the files that it has.
    """
    scene.world.await_nodes()  # whoever says that he is unhealthy says so because of this
    begun = time.monotonic()
    folder = os.environ.get(servers.DISK)
    with _filled(Path(folder)) if folder else _unwritable(scene):
        scene.note(f"{folder} is full for 20 s" if folder else "no file can be written for 20 s")
        said = scene.world.until(lambda: _somebody_says_so(scene), "a node or the engine says so", 20.0)
        scene.took("said after", said, 10.0)
        early = _count(scene)
        _pause(20 - (time.monotonic() - begun))
        late = _count(scene)
    scene.note(f"room again after {time.monotonic() - begun:.0f} s")
    if late > early and not folder:
        raise AssertionError(f"{late - early} orders were taken in while nothing could be written")
    _nothing_ended(scene)
    scene.world.await_nodes()
    scene.trades_on()
    scene.note(f"{late - early} orders were taken in meanwhile, and nothing ended")


def _somebody_says_so(scene: Scene) -> bool:
    return _all_unhealthy(scene) or livestate.client().hget(livestate.ENGINE_STATUS, "waiting_for") == "database"


def no_disk_to_fill() -> str:
    folder = os.environ.get(servers.DISK)
    if folder is None:
        if settings.GINKGO.mysql.host is not None:
            return f"the database is given, and {servers.DISK} names no disk to fill"
        return "" if hasattr(resource, "prlimit") else "only Linux limits what another process may write"
    free = os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize
    return f"{folder} has more than 2 GB free: it was not made to be filled" if free > _SMALL else ""


@contextmanager
def _unwritable(scene: Scene) -> Iterator[None]:
    """Every write beyond a file's first byte fails in the cluster's processes: `RLIMIT_FSIZE` needs no rights."""
    limited: list[tuple[psutil.Process, tuple[int, int]]] = []
    try:
        for process in [each for name in scene.world.names for each in scene.world.family(name)]:
            was = resource.prlimit(process.pid, resource.RLIMIT_FSIZE)
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1, was[1]))
            limited.append((process, was))
        yield
    finally:
        for process, was in limited:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, was)


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """The folder's disk has not a byte left; what others free in the meantime is taken too."""
    ballast, stop = folder / "ballast", threading.Event()

    def fill() -> None:
        with ballast.open("ab", buffering=0) as file:
            for size in (1 << 20, 1 << 12, 1):
                with contextlib.suppress(OSError):
                    while not stop.is_set():
                        file.write(bytes(size))
            while not stop.wait(0.05):
                try:
                    file.write(bytes(4096))
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise

    thread = threading.Thread(target=fill, name="drill_ballast", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(10)
        ballast.unlink(missing_ok=True)


def _nothing_ended(scene: Scene) -> None:
    ended = [name for name in scene.world.names if not scene.world.alive(name)]
    if ended:
        raise AssertionError(f"{', '.join(ended)} ended: {scene.world.said(ended[0])}")


def _count(scene: Scene) -> int:
    return Order.objects.filter(portfolio_id__in=scene.ground.codes).count()


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
