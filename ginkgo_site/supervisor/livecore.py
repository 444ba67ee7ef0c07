"""`ginkgo livecore start`: scheduler, engine and feed of one cluster, kept running in the foreground until the stop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from ginkgo_site.config import Config
from ginkgo_site.supervisor import platform
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program
from ginkgo_site.supervisor.signals import Signals
from ginkgo_site.supervisor.supervisor import Supervisor

SOURCES = ("sample", "simulation", "none")
_PARTS = ("scheduler", "engine", "feed")
_STOP_TIMEOUT = 45.0
_POLL = 0.2


def programs(config: Config, source: str, broker: str) -> list[Program]:
    """The three, in the order of their start; without a feed where `source` is none. The engine trades at `broker`."""
    all_of_them = platform.programs(config, nodes=0, feed=source, speed=config.feed.speed)
    chosen = [each for each in all_of_them if each.name in _PARTS]
    at = {"GINKGO_ENGINE__BROKER": broker}
    return [replace(each, environment={**each.environment, **at}) if each.name == "engine" else each for each in chosen]


def run(wanted: list[Program], signals: Signals, say: Callable[[str], None]) -> None:
    """Keep them running, and start again what dies, until a signal; then stop feed and scheduler, then the engine."""
    guard = Guard()
    supervisor = Supervisor(guard, say, on_change=lambda: None)
    try:
        for program in wanted:
            supervisor.start(program)
            say(f"{program.name} runs, its log is {program.log}")
        while not signals.stop:
            supervisor.step()
            signals.wait(_POLL)
    finally:
        say("stopping …")
        supervisor.stop(_STOP_TIMEOUT, signals)
        guard.close()
