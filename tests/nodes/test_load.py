"""What a portfolio costs its node: measured while it is live, smoothed, and kept through a night."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import pytest

from nodes import load
from nodes.load import LoadMeter, smoothed
from portfolios.loads import Measured
from tests.nodes.support import Clock
from tests.support import eventually


@dataclass
class Runner:
    portfolio_id: str = "p"
    applied: int = 0
    queued: int = 0
    native_id: int | None = 7
    running: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self.running.set()


class Scene:
    def __init__(self) -> None:
        self.clock = Clock()
        self.cpu = {7: 10.0}
        self.one = Runner()
        self.meter = LoadMeter(self.clock, lambda: self.cpu)

    def pass_by(self, events: int, seconds: float = load.WINDOW, cpu: float = 0.0, queued: int = 0) -> Measured | None:
        self.clock.now += seconds
        self.cpu[7] += cpu
        self.one.applied += events
        self.one.queued = queued
        return self.meter.read([self.one]).get("p")


def test_after_its_first_window_it_is_known() -> None:
    scene = Scene()
    assert scene.pass_by(500) is None, "what it caught up with before is not its load"
    assert scene.pass_by(1000, cpu=0.5, queued=30) == Measured(200.0, pytest.approx(10.0), 30.0)


def test_between_two_windows_there_is_nothing_new() -> None:
    scene = Scene()
    scene.pass_by(0)
    scene.pass_by(1000)
    assert scene.pass_by(1000, seconds=1) is None


def test_a_burst_is_believed_bit_by_bit() -> None:
    scene = Scene()
    scene.pass_by(0)
    scene.pass_by(500)
    assert 100 < scene.pass_by(50_000).rate < 1000  # type: ignore[union-attr]
    for _ in range(60):
        seen = scene.pass_by(50_000)
    assert seen is not None
    assert seen.rate == pytest.approx(10_000, rel=0.05)


def test_a_night_without_an_event_is_no_new_life() -> None:
    scene = Scene()
    scene.pass_by(0)
    scene.pass_by(5000)
    for _ in range(4 * 720):  # four hours
        seen = scene.pass_by(0)
    assert seen is not None
    assert seen.rate > 800


def test_one_that_begins_anew_is_measured_anew() -> None:
    scene = Scene()
    scene.pass_by(0)
    scene.pass_by(5000)
    scene.one.running.clear()
    assert scene.pass_by(90_000) is None, "it catches up"
    scene.one.running.set()
    assert scene.pass_by(0) is None
    assert scene.pass_by(50) == Measured(10.0, 0.0, 0.0)


def test_smoothing_ends_where_the_truth_is() -> None:
    found = Measured(0, 0, 0)
    for _ in range(100):
        found = smoothed(found, Measured(10, 20, 30), 5, 60)
    assert found.rate == pytest.approx(10, rel=0.01)
    assert found.queue == pytest.approx(30, rel=0.01)


def test_processor_time_is_each_threads_own() -> None:
    spun = threading.Event()

    def spin() -> None:
        sum(n * n for n in range(3_000_000))
        spun.set()
        done.wait(10)

    done = threading.Event()
    busy = threading.Thread(target=spin)
    idle = threading.Thread(target=done.wait, args=(10,))
    before = load.cpu_by_thread()
    busy.start()
    idle.start()
    assert before and spun.wait(30)
    eventually(lambda: load.cpu_by_thread().get(busy.native_id or 0, 0) > 0.05, saying="its time counted")
    assert load.cpu_by_thread().get(idle.native_id or 0, 0) < 0.05
    done.set()
    busy.join()
    idle.join()
