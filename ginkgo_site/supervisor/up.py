"""`ginkgo up`: the servers, the installation, the platform's processes, and the watch over them until the stop."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import health
from ginkgo_site.stack.errors import StackError
from ginkgo_site.stack.stack import Stack
from ginkgo_site.supervisor import platform
from ginkgo_site.supervisor.frozen import Frozen
from ginkgo_site.supervisor.screen import Screen
from ginkgo_site.supervisor.signs import Signs
from ginkgo_site.supervisor.summary import Summary

_INIT_TIMEOUT = 120.0
_WEB_TIMEOUT = 60.0
_REFRESH = 0.5
_LOOK_EVERY = 5.0
_FIRST_STAGE = 1
_SEEDED = "seeded"


@dataclass(frozen=True)
class Wanted:
    """What to run. `speed`: trading days a second for the sample, as the configuration says."""

    nodes: int
    feed: str
    speed: float


def install(stack: Stack, config: Config, told: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
    """Tables, topics, administrator; the sample portfolios on the first run. The administrator, also `told` at once.

    At once, because a password made here is known nowhere else, whatever fails later.
    """
    output = stack.run(
        platform.program(config, "data-init", _FIRST_STAGE, "data", "init", "--json", capture=True), _INIT_TIMEOUT
    )
    admin = _admin(output)
    told(admin)
    marker: Path = config.home / _SEEDED
    # A given database that somebody else set up is not ours to fill.
    if admin.get("created") or (config.mysql.host is None and not marker.exists()):
        stack.run(
            platform.program(config, "data-seed", _FIRST_STAGE, "data", "seed", "--json", capture=True), _INIT_TIMEOUT
        )
        marker.touch()
    return admin


def start(stack: Stack, config: Config, wanted: Wanted) -> None:
    """Start the platform's processes and wait until the web answers; raises StackError if it does not."""
    for program in platform.programs(config, wanted.nodes, wanted.feed, wanted.speed):
        stack.add(program)
    deadline = time.monotonic() + _WEB_TIMEOUT
    url = stack.document()["web"]
    while (fault := health.http(url)) is not None:
        web = stack.supervisor.children["web"]
        if web.starts > 1 or time.monotonic() > deadline:
            raise StackError(f"web does not answer at {url} ({fault}): {web.reason()} (see {web.program.log})")
        stack.wait(0.1)
    for program in platform.late_programs(config):
        stack.add(program)


def watch(stack: Stack, config: Config, screen: Screen) -> None:
    """Show the summary and end what is frozen, until a signal raises Interrupted."""
    summary = Summary()
    summary.start()
    frozen = Frozen(config.node.heartbeat_ttl)
    signs = Signs(addresses.resolve(config).redis or "")
    looked = time.monotonic()
    try:
        while True:
            stack.wait(_REFRESH)
            screen.update(summary.status, summary.fault)
            now = time.monotonic()
            if now - looked >= _LOOK_EVERY:
                looked = now
                for name in frozen.judge(signs.look(stack.supervisor.pids()), now):
                    screen.say(f"{name} has been silent for more than {config.node.heartbeat_ttl:g} s and is killed")
                    stack.supervisor.children[name].kill()
    finally:
        summary.stop()


def _admin(output: str) -> dict[str, Any]:
    try:
        admin: dict[str, Any] = json.loads(output)["admin"]
    except (ValueError, KeyError, TypeError):
        raise StackError("`ginkgo data init --json` did not say who the administrator is") from None
    return admin
