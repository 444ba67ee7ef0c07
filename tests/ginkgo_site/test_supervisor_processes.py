"""The supervisor with real, small processes: restarts, whole groups, order of the stop, and nothing left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from ginkgo_site.stack import probes
from ginkgo_site.stack.ports import Ports, is_free
from ginkgo_site.supervisor.frozen import Frozen
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program
from ginkgo_site.supervisor.signals import Signals
from ginkgo_site.supervisor.signs import Signs
from ginkgo_site.supervisor.supervisor import Supervisor
from tests.support import eventually

# A supervisor as small as can be: two children, one of them with a child of its own that ignores SIGTERM.
_SMALL = """
import sys, time
from pathlib import Path
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program
from ginkgo_site.supervisor.supervisor import Supervisor
home = Path(sys.argv[1])
supervisor = Supervisor(Guard(), print, lambda: None)
def program(name, script, stage):
    return Program(name, ("/bin/sh", "-c", script), home / f"{name}.log", stage, home)
supervisor.start(program("ours", "trap '' TERM; sleep 1000 & while :; do sleep 1000; done", 1))
supervisor.start(program("server", "exec sleep 1000", 9))
print(*supervisor.pids().values(), flush=True)
while True:
    supervisor.step()
    time.sleep(0.05)
"""


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def supervisor(said: list[str]) -> Iterator[Supervisor]:
    guard = Guard()
    yield Supervisor(guard, said.append, lambda: None)
    guard.close()  # it ends whatever a failed test has left


def program(folder: Path, name: str, script: str, stage: int = 1) -> Program:
    return Program(name, ("/bin/sh", "-c", script), folder / f"{name}.log", stage, folder)


def stepping(supervisor: Supervisor) -> bool:
    supervisor.step()
    return True


def members(group: int) -> list[psutil.Process]:
    """The living processes of a group."""
    found = []
    for process in psutil.process_iter():
        try:
            if os.getpgid(process.pid) == group and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except (ProcessLookupError, psutil.NoSuchProcess):
            continue
    return found


def test_a_child_that_dies_is_started_again_and_said_in_one_line(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    once = tmp_path / "once"
    script = f"test -e {once} && exec sleep 1000; touch {once}; echo 'ERROR no memory'; echo bye; exit 3"
    child = supervisor.start(program(tmp_path, "valkey", script))
    eventually(lambda: stepping(supervisor) and child.starts == 2)
    assert said == ["valkey ended (exit code 3): ERROR no memory; started again in 0.5 s"]


def test_of_a_child_killed_from_outside_the_log_is_not_blamed(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    child = supervisor.start(program(tmp_path, "valkey", "echo 'ERROR of old'; exec sleep 1000"))
    first = child.pid
    assert first is not None
    eventually(lambda: "of old" in child.reason())
    os.kill(first, signal.SIGKILL)
    eventually(lambda: stepping(supervisor) and child.pid not in (None, first))
    assert said == ["valkey ended (signal 9); started again in 0.5 s"]


def test_when_a_child_dies_the_rest_of_its_group_goes_with_it(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(program(tmp_path, "node", "sleep 1000 & sleep 1000 & wait"))
    group = child.pid
    assert group is not None
    eventually(lambda: len(members(group)) == 3)
    os.kill(group, signal.SIGKILL)
    eventually(lambda: stepping(supervisor) and not members(group))


def test_a_child_that_is_frozen_is_found_silent_killed_and_started_again(
    supervisor: Supervisor, said: list[str], tmp_path: Path
) -> None:
    child = supervisor.start(program(tmp_path, "engine", "exec sleep 1000"))
    first = child.pid
    assert first is not None
    frozen, signs = Frozen(ttl=0.3), Signs("redis://127.0.0.1:1/0")
    assert frozen.judge(signs.look(supervisor.pids()), time.monotonic()) == []
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: frozen.judge(signs.look(supervisor.pids()), time.monotonic()) == ["engine"], saying="it silent")
    child.kill()
    eventually(lambda: stepping(supervisor) and child.pid not in (None, first), timeout=10, saying="its next process")
    assert any("engine ended (signal 9" in line for line in said)


def test_stages_stop_one_after_the_other(supervisor: Supervisor, tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = 'trap "echo {0} >> {1}; exit 0" TERM; echo up; while :; do sleep 0.05; done'
    for name, stage in (("servers", 9), ("feed", 1), ("nodes", 2)):
        child = supervisor.start(program(tmp_path, name, script.format(name, order), stage))
        eventually(lambda child=child: child.program.log.read_text() == "up\n")  # type: ignore[misc]
    with Signals() as signals:
        supervisor.stop(10.0, signals)
    assert order.read_text().split() == ["feed", "nodes", "servers"]
    assert supervisor.pids() == {}


def test_one_deadline_holds_for_the_whole_stop(supervisor: Supervisor, said: list[str], tmp_path: Path) -> None:
    for name, stage in (("deaf", 1), ("deaf-too", 2)):
        child = supervisor.start(program(tmp_path, name, 'trap "" TERM; echo up; while :; do sleep 0.05; done', stage))
        eventually(lambda child=child: child.program.log.read_text() == "up\n")  # type: ignore[misc]
    begun = time.monotonic()
    with Signals() as signals:
        supervisor.stop(0.5, signals)
    assert time.monotonic() - begun < 3.0
    assert said == [f"{name} did not stop in time and is killed" for name in ("deaf", "deaf-too")]


def test_a_second_signal_makes_the_stop_abrupt(supervisor: Supervisor, tmp_path: Path) -> None:
    child = supervisor.start(program(tmp_path, "deaf", 'trap "" TERM; echo up; while :; do sleep 0.05; done'))
    eventually(lambda: child.program.log.read_text() == "up\n")
    with Signals() as signals:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        eventually(lambda: signals.abrupt)
        begun = time.monotonic()
        supervisor.stop(60.0, signals)
    assert time.monotonic() - begun < 3.0
    assert not child.running


def test_a_killed_supervisor_leaves_nothing_behind(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", _SMALL, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    groups = [int(word) for word in process.stdout.readline().split()]
    eventually(lambda: len(members(groups[0])) >= 2)
    wardens = [child for child in psutil.Process(process.pid).children() if child.pid not in groups]
    assert len(wardens) == 1
    process.kill()
    process.wait()
    process.stdout.close()
    eventually(lambda: not any(members(group) for group in groups), timeout=10, saying="the children gone")
    eventually(lambda: not wardens[0].is_running(), timeout=5, saying="the warden gone")


def test_a_child_that_never_was_registered_never_runs(tmp_path: Path) -> None:
    """As if the supervisor had been killed between the start and the registration: the gate's pipe just ends."""
    from ginkgo_site.supervisor import child

    witness = tmp_path / "witness"
    gate = subprocess.Popen(["/bin/sh", "-c", child._GATE, "ginkgo", "touch", str(witness)], stdin=subprocess.PIPE)
    assert gate.stdin is not None
    gate.stdin.close()
    assert gate.wait(timeout=5) != 0
    assert not witness.exists()


def test_a_dead_warden_is_replaced_and_knows_every_child(tmp_path: Path) -> None:
    guard = Guard()
    said: list[str] = []
    supervisor = Supervisor(guard, said.append, lambda: None)
    group = supervisor.start(program(tmp_path, "server", "exec sleep 1000")).pid
    assert group is not None
    os.kill(guard.pid, signal.SIGKILL)
    eventually(lambda: stepping(supervisor) and said)
    assert said == ["the warden ended and was replaced"]
    guard.close()
    eventually(lambda: supervisor.children["server"].ended() is not None, timeout=10)


def test_a_port_taken_by_one_stack_is_free_for_no_other() -> None:
    mine, other = Ports(), Ports()
    port = mine.any()
    try:
        assert is_free(port)
        assert not other.take(port)
        mine.release()
        assert other.take(port)
    finally:
        other.release()


def test_a_server_that_is_not_there_is_a_reason_not_an_exception() -> None:
    ports = Ports()
    port = ports.any()
    ports.release()
    for fault in (probes.kafka(f"127.0.0.1:{port}"), probes.redis(f"redis://127.0.0.1:{port}/0")):
        assert fault is not None
        assert "refused" in fault
