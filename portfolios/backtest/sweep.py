"""A sweep: a backtest for each combination of a grid, over several processes, each result kept as soon as it is there.

Each process is a worker of its own (`portfolios.backtest.sweep_worker`) that reads one line and answers one line, so
nothing is forked and nothing of the command is run again in it. A sweep that was ended in any way goes on where it was.
"""

from __future__ import annotations

import logging
import os
import queue
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from portfolios.backtest.grid import Point
from portfolios.backtest.run import Setup
from portfolios.backtest.sweep_file import SweepFile, key_of, name_of
from portfolios.backtest.sweep_job import Answer, Job, job_of

log = logging.getLogger(__name__)

_STOP_S = 5.0


@dataclass
class Swept:
    """`runs` and `failed` in the order of the grid; `kept` of the runs had been done before."""

    file: Path
    runs: list[tuple[Point, dict[str, Any]]] = field(default_factory=list)
    failed: list[tuple[Point, str]] = field(default_factory=list)
    skipped: list[Point] = field(default_factory=list)
    kept: int = 0


def processors() -> int:
    """How many this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def sweep(
    setup: Setup,
    points: Sequence[Point],
    home: Path,
    *,
    file: Path | None = None,
    fresh: bool = False,
    jobs: int | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Swept:
    """Runs those points that are valid and have no result yet. `setup` is what they have in common.

    `file`: where results are kept, by default one under `home` that is named after what is run; `fresh` forgets those
    it has. `progress` is told how many are done, of how many. BacktestError if the file cannot be used.
    """
    wanted = {name_of(point): point for point in points if not point.fault}
    key = key_of(setup)
    place = file or home / "sweeps" / f"{key[:16]}.jsonl"
    swept = Swept(place, skipped=[point for point in points if point.fault])
    failed: dict[str, str] = {}
    with SweepFile(place, key, fresh=fresh) as kept:
        missing = [name for name in wanted if name not in kept.results]
        swept.kept = len(wanted) - len(missing)
        done = swept.kept
        if progress is not None:
            progress(done, len(wanted))
        for name, answer in _answers(setup, {name: wanted[name] for name in missing}, home, jobs or processors()):
            if answer.error is None:
                kept.add(name, wanted[name].values, answer.document or {})
            else:
                failed[name] = answer.error
            done += 1
            if progress is not None:
                progress(done, len(wanted))
        swept.runs = [(point, kept.results[name]) for name, point in wanted.items() if name in kept.results]
    swept.failed = [(point, failed[name]) for name, point in wanted.items() if name in failed]
    return swept


def _answers(setup: Setup, points: dict[str, Point], home: Path, jobs: int) -> Iterator[tuple[str, Answer]]:
    if not points:
        return
    with _workers(min(jobs, len(points))) as free, ThreadPoolExecutor(free.qsize(), "sweep") as threads:

        def run(point: Point) -> Answer:
            worker = free.get()
            try:
                return worker.run(job_of(setup, point.config, home))
            finally:
                free.put(worker)

        asked = {threads.submit(run, point): name for name, point in points.items()}
        try:
            for each in as_completed(asked):
                yield asked[each], each.result()
        except (CancelledError, GeneratorExit, KeyboardInterrupt):
            threads.shutdown(wait=False, cancel_futures=True)
            for worker in list(free.queue):
                worker.end()
            raise


@contextmanager
def _workers(count: int) -> Iterator[queue.Queue[_Worker]]:
    """So many workers, each taken by whoever has a job for it; ended on the way out, whatever happens."""
    workers = [_Worker() for _ in range(count)]
    free: queue.Queue[_Worker] = queue.Queue()
    for worker in workers:
        free.put(worker)
    try:
        yield free
    finally:
        for worker in workers:
            worker.end()


class _Worker:
    """A process that runs backtests, one at a time; started with its first job, and again should it die."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None

    def run(self, job: Job) -> Answer:
        process = self._process
        if process is None or process.poll() is not None:
            process = self._process = subprocess.Popen(
                [sys.executable, "-m", "portfolios.backtest.sweep_worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                # What this process can import, a strategy in a file of its own included.
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            )
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(msgspec.json.encode(job) + b"\n")
            process.stdin.flush()
            line = process.stdout.readline()
        except OSError:
            line = b""
        if not line:
            code = process.wait()
            log.warning("a worker of a sweep ended with exit code %s", code)
            return Answer(error=f"its process ended with exit code {code}")
        return msgspec.json.decode(line, type=Answer)

    def end(self) -> None:
        process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
