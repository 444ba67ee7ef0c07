"""Memory of a real node: with five portfolios of 500 codes each, and what each of fifty further ones adds."""

from __future__ import annotations

import os
import threading
import time

import psutil

from ginkgo_site.bench import ground, load, node_process, ticks
from ginkgo_site.bench.figures import median
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.progress import Say

FIRST, FURTHER = 5, 50
MUST_FIRST_MB, MUST_FURTHER_MB = 200.0, 2.0
_CODES_EACH = 500
_AVERAGES = (5, 20)
_RATE, _LOAD_S = 3_000, 40.0
"""Long enough for every window of 20 prices to be full: 24 ticks of each of 5,000 codes. Each is applied 5.5 times."""
_MB = 1_048_576


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    shares = ticks.shares(ticks.codes(), 10, _CODES_EACH)
    first = ground.place(shares[:FIRST], *_AVERAGES)
    with node_process.engine(), node_process.running() as process:
        node_process.await_portfolios(process, first)
        node = psutil.Process(process.pid)
        begun = node.memory_info().rss / _MB
        small = _under_load(node)
        say(f"memory: {FIRST} portfolios: {small:.0f} MB after {_LOAD_S:g} s of {_RATE:,} ticks a second")
        further = ground.place([shares[i % len(shares)] for i in range(FURTHER)], *_AVERAGES)
        node_process.await_portfolios(process, further)
        large = _under_load(node)
        say(f"memory: {FIRST + FURTHER} portfolios: {large:.0f} MB")
    machine = os.getloadavg()[0]
    return [
        Outcome(
            name="memory", ours=small, unit=f"MB with {FIRST} portfolios", must=MUST_FIRST_MB, bound="at most",
            details={"MB before the first tick": begun}, load=machine,
        ),
        Outcome(
            name="memory-further", ours=(large - small) / FURTHER, unit="MB per portfolio", must=MUST_FURTHER_MB,
            bound="at most", details={f"MB with {FIRST + FURTHER} portfolios": large}, load=machine,
        ),
    ]  # fmt: skip


def _under_load(node: psutil.Process) -> float:
    """Resident MB: the median of the last five seconds of the load."""
    with load.running(_RATE, _LOAD_S):
        seen: list[float] = []
        deadline = time.monotonic() + _LOAD_S
        pause = threading.Event()
        while time.monotonic() < deadline:
            pause.wait(0.5)
            seen.append(node.memory_info().rss / _MB)
    return median(seen[-10:])
