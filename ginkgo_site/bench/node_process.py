"""Real processes for a benchmark: a node with its portfolios running, and the engine."""

from __future__ import annotations

import subprocess
import threading
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from django.conf import settings

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.ground import NODE_ID
from ginkgo_site.stack import logs
from ginkgo_site.supervisor.detach import command, environment
from portfolios.models import Portfolio
from portfolios.models.portfolio import Status

_START_S = 90.0


@contextmanager
def running() -> Iterator[subprocess.Popen[bytes]]:
    """The node's process; stopped afterwards as an operator stops it."""
    with _process("node", "start", "--node-id", NODE_ID) as process:
        yield process


@contextmanager
def engine() -> Iterator[None]:
    """The engine with its simulated exchange, so that orders are answered."""
    with _process("engine", "run"):
        yield


@contextmanager
def _process(*words: str) -> Iterator[subprocess.Popen[bytes]]:
    log = settings.GINKGO.home / f"bench-{words[0]}.log"
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(*words), env=environment(), stdin=subprocess.DEVNULL, stdout=output, stderr=output
        )
    try:
        yield process
        if process.poll() is not None:
            raise BenchError(f"the {words[0]} ended: {logs.telling_line(log)}")
    finally:
        process.terminate()
        try:
            process.wait(40)
        except subprocess.TimeoutExpired:
            process.kill()


def await_portfolios(process: subprocess.Popen[bytes], portfolio_ids: Collection[str]) -> None:
    """Raises BenchError if they are not all running in time."""
    pause = threading.Event()
    deadline = time.monotonic() + _START_S
    left = len(portfolio_ids)
    while left:
        if process.poll() is not None:
            raise BenchError("the node ended while it started")
        if time.monotonic() > deadline:
            raise BenchError(f"{left} portfolios were not running after {_START_S:g} s")
        pause.wait(0.2)
        running = Portfolio.objects.filter(id__in=portfolio_ids, status=Status.RUNNING).count()
        left = len(portfolio_ids) - running
