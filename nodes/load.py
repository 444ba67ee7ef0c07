"""What each portfolio of this node costs, smoothed: by this the scheduler weighs it (SPEC S2)."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import psutil

from portfolios.loads import Measured

WINDOW = 5.0
"""Seconds between two looks."""
SMOOTH = 60.0
"""Seconds in which a change of load is mostly believed."""
REMEMBER = 24 * 3600.0
"""The same while nothing is heard at all: a night is no new life."""


class Runs(Protocol):
    """What is asked of a processor."""

    portfolio_id: str
    applied: int
    running: threading.Event
    """Set while it is live: what it applies then is what comes, not what it catches up with."""

    @property
    def queued(self) -> int: ...

    @property
    def native_id(self) -> int | None: ...


class _Meter:
    """One portfolio's. The first look only begins a window."""

    def __init__(self, now: float, applied: int, cpu: float) -> None:
        self.at, self.applied, self.cpu = now, applied, cpu
        self.measured: Measured | None = None

    def look(self, now: float, applied: int, cpu: float, queued: int) -> None:
        span = now - self.at
        heard = applied - self.applied
        seen = Measured(heard / span, 100 * max(0.0, cpu - self.cpu) / span, float(queued))
        self.at, self.applied, self.cpu = now, applied, cpu
        self.measured = smoothed(self.measured, seen, span, SMOOTH if heard else REMEMBER)


def smoothed(before: Measured | None, seen: Measured, span: float, window: float) -> Measured:
    """`seen` over `span` seconds, taken into what was known before."""
    if before is None:
        return seen
    share = 1 - math.exp(-span / window)
    return Measured(*(old + share * (new - old) for old, new in zip(_of(before), _of(seen), strict=True)))


def _of(measured: Measured) -> tuple[float, float, float]:
    return measured.rate, measured.cpu, measured.queue


class LoadMeter:
    """Asked as often as one likes; it looks every WINDOW seconds. One thread's."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, cpu: Callable[[], Mapping[int, float]] | None = None
    ) -> None:
        self._clock = clock
        self._cpu = cpu or cpu_by_thread
        self._meters: dict[str, _Meter] = {}
        self._looked = float("-inf")

    def read(self, running: Iterable[Runs]) -> dict[str, Measured]:
        """What is known of each that is live; empty between two looks: there is nothing new to tell."""
        now = self._clock()
        if now - self._looked < WINDOW:
            return {}
        self._looked = now
        cpu = self._cpu()
        found: dict[str, Measured] = {}
        meters: dict[str, _Meter] = {}
        for one in running:
            if not one.running.is_set():
                continue  # its next life begins a new window
            spent = cpu.get(one.native_id or 0, 0.0)
            meter = self._meters.get(one.portfolio_id)
            if meter is None or one.applied < meter.applied:
                meters[one.portfolio_id] = _Meter(now, one.applied, spent)
                continue
            meter.look(now, one.applied, spent, one.queued)
            meters[one.portfolio_id] = meter
            assert meter.measured is not None
            found[one.portfolio_id] = meter.measured
        self._meters = meters
        return found


def cpu_by_thread() -> dict[int, float]:
    """Processor time in seconds of each thread of this process, by its native id; nothing where that is hidden."""
    try:
        return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}
    except psutil.Error:
        return {}
