"""`ginkgo up` as a user has it: addresses, the password once, Ctrl-C, nothing left; interrupted while starting, too."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from tests.support import eventually
from tests.support.stack import process_environment, read

# Not on Debian's servers: it starts a new installation, and theirs are shared with the other tests.
pytestmark = pytest.mark.timeout(240)


@contextmanager
def in_a_terminal_of_its_own(home: Path, *words: str) -> Iterator[subprocess.Popen[str]]:
    """`ginkgo WORDS…` as the leader of a foreground process group; killed if the test fails."""
    from ginkgo_site.supervisor.detach import command

    process = subprocess.Popen(
        command(*words),
        env=process_environment(home, {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


def press_ctrl_c(process: subprocess.Popen[str]) -> None:
    """As a terminal does: to the whole foreground process group."""
    os.killpg(process.pid, signal.SIGINT)


def family(pid: int) -> list[psutil.Process]:
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def test_up_serves_tells_the_password_once_and_ends_with_ctrl_c(tmp_path: Path) -> None:
    with in_a_terminal_of_its_own(tmp_path, "up", "--nodes", "1", "--feed", "none", "--json") as up:
        assert up.stdout is not None
        text = ""
        while not text.endswith("\n}\n"):
            line = up.stdout.readline()
            assert line, up.stderr.read() if up.stderr else ""
            text += line
        document = json.loads(text)
        assert document["admin"]["created"]
        password = document["admin"]["password"].encode()
        assert urllib.request.urlopen(f"{document['web']}/admin/login/", timeout=10).status == 200
        assert {"kafka", "valkey", "mongodb", "scheduler", "node-1", "engine", "web", "flower"} <= set(
            read(tmp_path)["processes"]
        )
        written = [path for path in tmp_path.rglob("*") if path.is_file() and path.suffix not in (".jar", ".index")]
        assert not [path for path in written if password in path.read_bytes()]

        processes = family(up.pid)
        press_ctrl_c(up)
        assert up.wait(timeout=60) == 0
        eventually(lambda: not alive(processes), timeout=2)
        assert not (tmp_path / "stack.json").exists()


def test_ctrl_c_while_starting_leaves_nothing(tmp_path: Path) -> None:
    with in_a_terminal_of_its_own(tmp_path, "up") as up:
        eventually(lambda: "valkey" in read(tmp_path).get("processes", {}), timeout=60)
        processes = family(up.pid)
        press_ctrl_c(up)
        assert up.wait(timeout=60) == 0
        eventually(lambda: not alive(processes), timeout=2)
        assert not (tmp_path / "stack.json").exists()
