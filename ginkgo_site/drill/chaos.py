"""Random failures from a seed: what happens when is decided beforehand, so that a failing seed can be run again.

What was planned for a process or server that is down by then is not done, not counted and not listed.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Sequence
from typing import NamedTuple

from ginkgo_site.drill import servers
from ginkgo_site.drill.scene import Drill, Scene
from ginkgo_site.drill.world import World

_EVERY_S = 7.0
"""Between two faults, on average."""
_COMING_BACK_S = 8.0
_LONGEST_S = {"kill": 12.0, "freeze": 10.0, "cut": 10.0, "silence": 8.0, "restart": 0.0}


class Fault(NamedTuple):
    """What is done to whom, `at` seconds after the start, and for how many seconds. A cut is between the target, a
    node, and a `server`.
    """

    at: float
    kind: str
    target: str
    seconds: float
    server: str = ""

    def __str__(self) -> str:
        lasting = f" for {self.seconds:.1f} s" if self.seconds else ""
        return f"{self.at:.1f} s: {self.kind} {self.target}{f' from {self.server}' if self.server else ''}{lasting}"


def plan(
    seed: int, seconds: float, nodes: Sequence[str], cuttable: Sequence[str], mortal: Sequence[str]
) -> list[Fault]:
    """The faults of this seed, by time; a target is left alone while another fault has it.

    `cuttable` servers can fall silent, `mortal` ones can be killed.
    """
    rng = random.Random(seed)
    busy: dict[str, float] = {}
    faults: list[Fault] = []
    at = rng.uniform(1.0, 4.0)
    while at < seconds:
        kind, target, server = _draw(rng, nodes, cuttable, mortal)
        lasting = round(rng.uniform(0.5, 1.0) * rng.random() * _LONGEST_S[kind], 1)
        if busy.get(target, 0.0) <= at:
            faults.append(Fault(round(at, 1), kind, target, lasting, server))
            # Long enough to be up again: a process that starts for seconds and is killed again shows less and less.
            busy[target] = at + lasting + 4.0
        at += rng.expovariate(1 / _EVERY_S) + 0.5
    return faults


def _draw(
    rng: random.Random, nodes: Sequence[str], cuttable: Sequence[str], mortal: Sequence[str]
) -> tuple[str, str, str]:
    kind = rng.choices(("kill", "freeze", "cut", "restart", "silence"), weights=(5, 5, 3, 2 if mortal else 0, 1))[0]
    if kind == "cut":
        return kind, rng.choice(nodes), rng.choice(cuttable)
    if kind == "restart":
        return kind, rng.choice(mortal), ""
    if kind == "silence":
        return kind, rng.choice(cuttable), ""
    return kind, rng.choices((*nodes, "engine", "scheduler"), weights=(*(3 for _ in nodes), 3, 1))[0], ""


def drill(seed: int, minutes: float) -> Drill:
    """As one of the drills by name."""

    def run(scene: Scene) -> None:
        world = scene.world
        cuttable = sorted(servers.addresses())
        mortal = [name for name in ("kafka", "mysql", "redis") if servers.pid(world.home, name) is not None]
        faults = plan(seed, minutes * 60, world.nodes, cuttable, mortal)
        steps = sorted(
            [(fault.at, 0, fault) for fault in faults]
            + [(f.at + f.seconds, 1, f) for f in faults if f.kind != "restart"]
        )
        begun, pause, returning = time.monotonic(), threading.Event(), dict[str, tuple[int, float]]()
        for at, end, fault in [*steps, (minutes * 60, 1, None)]:
            pause.wait(max(0.0, begun + at - time.monotonic()))
            begun += _await_servers(scene, returning)
            if fault is None:
                return
            if end:
                _undo(world, fault)
            elif _do(world, fault, returning):
                scene.injected += 1
                scene.note(str(fault))

    return Drill(f"random failures for {minutes:g} minutes", run)


def name(seed: int, minutes: float) -> str:
    """As it is asked for and reported: `chaos:7:3`."""
    return f"chaos:{seed}:{minutes:g}"


def is_chaos(text: str) -> bool:
    return text.startswith("chaos:")


def parse(text: str) -> Drill:
    """The drill of such a name."""
    _, seed, minutes = text.split(":")
    return drill(int(seed), float(minutes))


def _await_servers(scene: Scene, returning: dict[str, tuple[int, float]]) -> float:
    """A killed server has some seconds in which other faults meet its absence. On a busy machine it may need a minute,
    in which nothing could be shown: the plan then waits for it. The seconds it waited.
    """
    begun = time.monotonic()
    for name, (was, killed) in list(returning.items()):
        if begun - killed > _COMING_BACK_S:
            scene.world.until(lambda n=name, w=was: servers.is_back(scene.world.home, n, w), f"{name} is back", 300)  # type: ignore[misc]
            del returning[name]
    waited = time.monotonic() - begun
    if waited > 1:
        scene.note(f"waited {waited:.0f} s for servers to come back")
    return waited


def _do(world: World, fault: Fault, returning: dict[str, tuple[int, float]]) -> bool:
    """Whether it could be done: what is down already cannot fail, and is started again instead."""
    target = fault.target
    if target in world.names and not world.alive(target):
        # It ended by itself, as it must when it has been frozen or cut off for too long.
        world.start(target)
        return False
    if fault.kind == "restart":
        if target in returning:
            return False
        world.until(lambda: servers.pid(world.home, target) is not None, f"{target} can be killed")
        returning[target] = servers.kill(world.home, target), time.monotonic()
    elif fault.kind == "cut":
        world.cut(fault.server, target)
    elif fault.kind == "silence":
        world.cut(target)
    elif fault.kind == "kill":
        world.kill(target)
    else:
        world.freeze(target)
    return True


def _undo(world: World, fault: Fault) -> None:
    if fault.kind == "cut":
        world.mend(fault.server, fault.target)
    elif fault.kind == "silence":
        world.mend(fault.target)
    elif fault.kind == "freeze":
        world.thaw(fault.target)
    if fault.target in world.names:
        world.start(fault.target)
