"""One drill from its first tick to its verdict."""

from __future__ import annotations

import sys
import threading

from ginkgo_site.drill.drills import DRILLS, Drill, Scene
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground
from ginkgo_site.drill.oracle import judge
from ginkgo_site.drill.outcome import Outcome
from ginkgo_site.drill.world import World

PORTFOLIOS = 4
RATE = 200.0
"""Ticks a second in all."""
EVERY = 10
"""Ticks of a code from one order to the next: some fifteen orders a second in all."""
_BEFORE_S, _AFTER_S = 3.0, 4.0


def run(name: str, world: World) -> Outcome:
    """Orders flow, the failure happens, all is put right, the feed ends, everything settles; then it is judged."""
    drill = DRILLS[name]
    if drill.embedded_only and world.server("kafka") is None:
        return Outcome(name=name, skipped="the server is given: it is not ours to kill")
    return perform(name, drill, world)


def perform(name: str, drill: Drill, world: World) -> Outcome:
    """What keeps a drill from its end is a failure of that drill: the next one is run all the same."""
    try:
        return _perform(name, drill, world)
    except DrillError as error:
        said = "; ".join(f"{each}: {line}" for each in world.names if (line := world.said(each)))
        return Outcome(name=name, failed=True, notes=[str(error), said])


def _perform(name: str, drill: Drill, world: World) -> Outcome:
    world.restore()
    ground = Ground(PORTFOLIOS, EVERY)
    ground.await_running()
    faults: list[str] = []

    def note(line: str) -> None:
        faults.append(line)
        say(f"{name}: {line}")

    feed = Feed(ground.all_codes, RATE)
    feed.start()
    wrong = ""
    _pause(_BEFORE_S)
    try:
        drill.run(Scene(world, ground, note))
    except (DrillError, AssertionError) as error:
        wrong = str(error)
    _pause(_AFTER_S)
    feed.stop()
    world.restore()
    witnesses = ground.settle(feed)
    outcome = judge(name, ground, feed, witnesses)
    outcome.faults, outcome.pause_must = faults, drill.pause
    if wrong:
        outcome.notes.append(wrong)
        outcome.failed = True
    if outcome.fenced:
        outcome.notes.append(f"{outcome.fenced} messages of former owners were fenced")
    ground.retire()
    return outcome


def say(line: str) -> None:
    """Progress, on stderr."""
    sys.stderr.write(f"{line}\n")


def _pause(seconds: float) -> None:
    threading.Event().wait(seconds)
