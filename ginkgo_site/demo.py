"""What `ginkgo demo` shows: portfolios that trade on two nodes, a node that is killed, and what became of them.

Everything runs in a home of its own, on embedded servers; whoever starts it removes that home afterwards.
"""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ginkgo_site import status
from ginkgo_site.supervisor.detach import command, environment, launch

Say = Callable[[str], None]
Look = Mapping[str, Any]

NODES = 2
QUICK = {"GINKGO_NODE__HEARTBEAT_INTERVAL": "1", "GINKGO_NODE__HEARTBEAT_TTL": "3"}
"""So that nobody waits half a minute for a heartbeat to end; a demonstration has one machine and no network."""
_PATIENCE = 120.0
_LOOK = 0.25
_SOME_FILLS = 5


class DemoFailed(Exception):
    """What was to be shown did not happen; the message says what."""


@dataclass(frozen=True)
class Lost:
    """What a node ran when it was killed: epoch and name by portfolio id."""

    node_id: str
    pid: int
    portfolios: Mapping[str, tuple[int, str]]


def to_kill(look: Look) -> Lost | None:
    """The node that runs most, if any of this machine runs something."""
    nodes = [node for node in look["nodes"] if node["pid"] and node["running"]]
    if not nodes:
        return None
    node = max(nodes, key=lambda each: (each["running"], each["id"]))
    owned = {p["id"]: (p["epoch"], p["name"]) for p in look["portfolios"] if p["node_id"] == node["id"]}
    return Lost(node["id"], node["pid"], owned) if owned else None


def back(look: Look, lost: Lost) -> dict[str, str]:
    """Of what it ran, the node that runs it again, by portfolio id: an epoch later, and not the dead process."""
    alive = {node["id"] for node in look["nodes"] if node["pid"] != lost.pid and node["running"]}
    return {
        each["id"]: each["node_id"]
        for each in look["portfolios"]
        if each["id"] in lost.portfolios
        and each["epoch"] > lost.portfolios[each["id"]][0]
        and each["status"] == "running"
        and each["node_id"] in alive
    }


def show(home: Path, say: Say) -> None:
    """The whole story, told to `say`. Raises DemoFailed, StackError; `ginkgo down` must follow in any case."""
    say("1. Starting servers, scheduler, engine, two nodes, a feed of real closes and the pages")
    up = ("up", "--nodes", str(NODES), "--feed", "sample", "--speed", "2")
    document = launch(up, home, home / "logs" / "supervisor.log", lambda line: say(f"   {line}"))
    say(f"   the pages are at {document['web']}")

    look = _until(lambda seen: all(p["status"] == "running" for p in seen["portfolios"]), "the portfolios do not run")
    for each in look["portfolios"]:
        say(f"   {each['name']} runs on {each['node_id']}, epoch {each['epoch']}")
    look = _until(lambda seen: seen["orders"]["filled"] >= _SOME_FILLS, "nothing is traded")
    say(f"2. They trade: {_orders(look)}")

    lost = to_kill(_until(lambda seen: to_kill(seen) is not None, "no node runs anything"))
    assert lost is not None
    names = ", ".join(name for _, name in lost.portfolios.values())
    say(f"3. kill -9 {lost.pid}: that was {lost.node_id}, which ran {names}")
    killed = time.monotonic()
    os.kill(lost.pid, signal.SIGKILL)
    told: set[str] = set()

    def all_back(seen: Look) -> bool:
        found = back(seen, lost)
        for portfolio_id in found.keys() - told:
            epoch = next(p["epoch"] for p in seen["portfolios"] if p["id"] == portfolio_id)
            name = lost.portfolios[portfolio_id][1]
            say(f"   {time.monotonic() - killed:4.1f} s: {name} runs on {found[portfolio_id]}, epoch {epoch}")
        told.update(found)
        return found.keys() == lost.portfolios.keys()

    before = _until(all_back, "its portfolios do not run again")["orders"]["filled"]
    look = _until(lambda seen: seen["orders"]["filled"] >= before + _SOME_FILLS, "nothing is traded any more")
    say(f"4. They go on from their checkpoints: {_orders(look)}")

    say("5. Do portfolios, fills and the broker agree about what is held?")
    words = command("reconcile")
    done = subprocess.run(words, env=environment(), capture_output=True, text=True, timeout=_PATIENCE, check=False)
    for line in done.stdout.splitlines():
        say(f"   {line}")
    if done.returncode:
        raise DemoFailed("the books differ" if done.stdout else done.stderr.strip())


def _orders(look: Look) -> str:
    orders = look["orders"]
    return f"{orders['submitted']} orders, {orders['filled']} filled, {orders['fenced']} of a former owner kept out"


def _until(condition: Callable[[Look], bool], trouble: str) -> Look:
    deadline, pause = time.monotonic() + _PATIENCE, threading.Event()
    while True:
        look = status.collect()
        if condition(look):
            return look
        if time.monotonic() > deadline:
            raise DemoFailed(f"after {_PATIENCE:g} s {trouble}")
        pause.wait(_LOOK)
