"""Real processes for a benchmark: nodes with their portfolios running, the engine, the scheduler."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from django.conf import settings

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.ground import NODE_ID
from ginkgo_site.stack import logs
from ginkgo_site.supervisor.detach import command, environment
from portfolios import livestate
from portfolios.models import Portfolio
from portfolios.models.portfolio import Status

_START_S = 240.0
"""On a busy machine; seconds on a quiet one."""
_NO_VARIABLES: Mapping[str, str] = {}


class Child(subprocess.Popen[bytes]):
    """A process that is expected to live, unless it was killed by `crash`."""

    crashed = False

    def crash(self) -> None:
        """kill -9."""
        self.crashed = True
        self.kill()
        self.wait(10)


@contextmanager
def running(node_id: str = NODE_ID, variables: Mapping[str, str] = _NO_VARIABLES) -> Iterator[Child]:
    """The node's process; stopped afterwards as an operator stops it. `variables` are added to its environment."""
    with _process("node", "start", "--node-id", node_id, variables=variables) as process:
        yield process


@contextmanager
def engine() -> Iterator[Child]:
    """The engine with its simulated exchange, so that orders are answered."""
    with _process("engine", "run") as process:
        yield process


@contextmanager
def scheduler(variables: Mapping[str, str] = _NO_VARIABLES) -> Iterator[Child]:
    """Beat and its worker."""
    with _process("scheduler", "run", variables=variables) as process:
        yield process


@contextmanager
def _process(*words: str, variables: Mapping[str, str] = _NO_VARIABLES) -> Iterator[Child]:
    log = settings.GINKGO.home / f"bench-{words[0]}.log"
    with log.open("ab") as output:
        process = Child(
            command(*words), env={**environment(), **variables}, stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
        if process.poll() is not None and not process.crashed:
            raise BenchError(f"the {words[0]} ended: {logs.telling_line(log)}")
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def await_node(process: Child, node_id: str) -> None:
    """Raises BenchError if it does not say in time that it runs."""

    def runs() -> bool:
        info: dict[str, str] = livestate.client().hgetall(livestate.node_info_key(node_id))  # type: ignore[assignment]
        return (info.get("state"), info.get("pid")) == ("running", str(process.pid))

    until(runs, f"{node_id} runs", process)


def await_portfolios(process: Child, portfolio_ids: Collection[str]) -> None:
    """Raises BenchError if they are not all running in time."""
    wanted = list(portfolio_ids)

    def run() -> bool:
        return Portfolio.objects.filter(id__in=wanted, status=Status.RUNNING).count() == len(wanted)

    until(run, f"{len(wanted)} portfolios run", process)


def until(condition: Callable[[], bool], saying: str, process: Child | None = None, timeout: float = _START_S) -> None:
    """Wait for it. Raises BenchError if it takes longer than `timeout` seconds, or `process` ends."""
    pause, deadline = threading.Event(), time.monotonic() + timeout
    while not condition():
        if process is not None and process.poll() is not None:
            raise BenchError(f"a process ended while this was awaited: {saying}")
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout:g} s in vain: {saying}")
        pause.wait(0.05)
