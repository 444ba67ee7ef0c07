"""The platform's processes: each one command, in the order in which they are started, with the stage of their stop."""

from __future__ import annotations

from ginkgo_site.config import Config
from ginkgo_site.supervisor.detach import command, environment
from ginkgo_site.supervisor.program import Program

# The feed first, so that nothing new comes in, and the scheduler, so that it moves no portfolio of a node that stops.
# The engine outlives the nodes: they wait for its answers.
_FEED = _SCHEDULER = 1
_NODES = 2
_ENGINE = 3
_HISTORY = 4
_ALERTS = 4
_PAGES = 4


def programs(config: Config, nodes: int, feed: str, speed: float) -> list[Program]:
    """Everything that `ginkgo up` keeps running beside the servers."""
    wanted = [
        program(config, "scheduler", _SCHEDULER, "scheduler", "run"),
        *(program(config, f"node-{n}", _NODES, "node", "start", "--node-id", f"node-{n}") for n in range(1, nodes + 1)),
        program(config, "engine", _ENGINE, "engine", "run"),
        program(config, "web", _PAGES, "web"),
    ]
    if feed != "none":
        wanted.append(program(config, "feed", _FEED, "feed", "start", "--source", feed, "--speed", f"{speed:g}"))
    wanted.append(program(config, "flower", _PAGES, "flower"))
    return wanted


def late_programs(config: Config) -> list[Program]:
    """What is started when everything else answers: what they read waits in the log until then."""
    return [
        program(config, "alerts", _ALERTS, "alerts", "run"),
        # It outlives the engine, so that it hears of everything.
        program(config, "history", _HISTORY, "history", "run"),
    ]


def program(config: Config, name: str, stage: int, *words: str, capture: bool = False) -> Program:
    """`ginkgo WORDS…` in this home, its output in `logs/<name>.log`."""
    return Program(
        name=name,
        argv=command(*words),
        log=config.home / "logs" / f"{name}.log",
        stage=stage,
        cwd=config.home,
        environment={**environment(), "GINKGO_HOME": str(config.home)},
        capture=capture,
    )
