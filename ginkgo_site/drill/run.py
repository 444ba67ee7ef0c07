"""One drill from its first tick to its verdict."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable

import redis
from confluent_kafka import KafkaException
from django.db import Error as DatabaseError

from ginkgo_site.drill.drills import DRILLS
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground
from ginkgo_site.drill.oracle import judge
from ginkgo_site.drill.outcome import Outcome
from ginkgo_site.drill.scene import Drill, Scene
from ginkgo_site.drill.world import World

_BEFORE_S, _AFTER_S = 3.0, 4.0
_STUMBLES = (DrillError, AssertionError, DatabaseError, KafkaException, redis.RedisError)
"""What keeps a drill from its end is a failure of that drill: the next one is run all the same."""


def run(name: str, world: World) -> Outcome:
    """Orders flow, the failure happens, all is put right, the feed ends, everything settles; then it is judged."""
    drill = DRILLS[name]
    if why := drill.why_not(world):
        return Outcome(name=name, skipped=why)
    return perform(name, drill, world)


def perform(name: str, drill: Drill, world: World) -> Outcome:
    faults: list[str] = []

    def note(line: str) -> None:
        faults.append(line)
        say(f"{name}: {line}")

    try:
        world.use(drill.profile)
        ground = Ground(drill.portfolios, drill.every, drill.slow)
        try:
            return _perform(name, drill, _scene(world, drill, ground, note), faults)
        finally:
            ground.retire()
    except _STUMBLES as error:
        said = "; ".join(f"{each}: {line}" for each in world.names if (line := world.said(each)))
        return Outcome(name=name, failed=True, faults=faults, notes=[str(error), said])


def _perform(name: str, drill: Drill, scene: Scene, faults: list[str]) -> Outcome:
    world, ground, feed = scene.world, scene.ground, scene.feed
    ground.await_running()
    feed.start()
    wrong = ""
    try:
        scene.trades_on()
        _pause(_BEFORE_S)
        drill.run(scene)
    except _STUMBLES as error:
        wrong = str(error)
    _pause(_AFTER_S)
    feed.stop()
    world.restore()
    witnesses = ground.settle(feed)
    outcome = judge(name, ground, feed, witnesses)
    outcome.faults, outcome.timed, outcome.injected = faults, scene.timed, scene.injected
    if drill.clocks_differ:
        outcome.pause_s = 0.0  # the log's times are those of its producers
    if wrong:
        outcome.notes.append(wrong)
        outcome.failed = True
    if outcome.fenced:
        outcome.notes.append(f"{outcome.fenced} messages of former owners were fenced")
    return outcome


def _scene(world: World, drill: Drill, ground: Ground, note: Callable[[str], None]) -> Scene:
    return Scene(world, ground, Feed(ground.every, drill.rate), drill.every, note)


def say(line: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{line}\n")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
