"""`ginkgo demo`: whom it kills, who counts as back, and the whole of it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from ginkgo_site import demo
from ginkgo_site.supervisor.detach import command, environment


def node(name: str, pid: int, running: int) -> dict[str, Any]:
    return {"id": name, "pid": pid, "running": running}


def portfolio(name: str, node_id: str, epoch: int, status: str = "running") -> dict[str, Any]:
    return {"id": name, "name": name.upper(), "node_id": node_id, "epoch": epoch, "status": status}


LOOK = {
    "nodes": [node("n1", 11, 1), node("n2", 12, 2)],
    "portfolios": [portfolio("a", "n1", 1), portfolio("b", "n2", 3), portfolio("c", "n2", 1)],
}


def test_the_node_that_runs_most_is_killed() -> None:
    assert demo.to_kill(LOOK) == demo.Lost("n2", 12, {"b": (3, "B"), "c": (1, "C")})


def test_nobody_is_killed_who_runs_nothing() -> None:
    assert demo.to_kill({"nodes": [node("n1", 11, 0)], "portfolios": []}) is None


def test_back_is_what_runs_an_epoch_later_in_a_living_process() -> None:
    lost = demo.to_kill(LOOK)
    assert lost is not None
    assert demo.back(LOOK, lost) == {}
    after = {
        "nodes": [node("n1", 11, 2), node("n2", 12, 2)],
        "portfolios": [portfolio("a", "n1", 1), portfolio("b", "n1", 4), portfolio("c", "n2", 2)],
    }
    assert demo.back(after, lost) == {"b": "n1"}  # what Redis still says of the dead one proves nothing
    after["nodes"][1]["pid"] = 99
    assert demo.back(after, lost) == {"b": "n1", "c": "n2"}


def test_it_does_not_touch_servers_that_are_configured(tmp_path: Path) -> None:
    env = {**environment(), "GINKGO_HOME": str(tmp_path), "GINKGO_REDIS__HOST": "127.0.0.1"}
    done = subprocess.run(command("demo"), env=env, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1
    assert "configured is: redis" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_whole_story_is_told_and_nothing_is_left(tmp_path: Path) -> None:
    env = {name: value for name, value in environment().items() if not name.startswith("GINKGO_")}
    env |= {"TMPDIR": str(tmp_path), "HOME": os.environ["HOME"]}
    done = subprocess.run(command("demo"), env=env, capture_output=True, text=True, timeout=800, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[0] for line in done.stdout.splitlines() if line[:1].isdigit()] == list("123456")
    # The claims on ports are all users' and stay.
    assert [each.name for each in tmp_path.iterdir() if not each.name.startswith("ginkgo-ports-")] == []
