"""A portfolio that is to run and whose state stands still is said to be stale: once, and that it is over."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from portfolios import livestate
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import DesiredState, Status
from scheduler import cycle, staleness
from scheduler.models import StaleState
from scheduler.staleness import Watch
from tests.scheduler.conftest import Clock, Herd

Make = Callable[..., str]


class Scene:
    def __init__(self, herd: Herd, clock: Clock) -> None:
        self.redis, self.clock, self.watch = herd.redis, clock, Watch()

    def write(self, at: str = "") -> None:
        said = at or datetime.now(UTC).isoformat()
        self.redis.hset(livestate.state_key("p1"), mapping={"updated_at": said})

    def look(self, after: float = 0.0, watch: Watch | None = None) -> None:
        self.clock.forward(after)
        staleness.check(self.redis, self.clock(), watch or self.watch)


@pytest.fixture
def scene(herd: Herd, clock: Clock, portfolio: Make, caplog: pytest.LogCaptureFixture) -> Scene:
    portfolio("p1", "n1", 1, status=Status.RUNNING)
    caplog.set_level(logging.INFO)
    return Scene(herd, clock)


def test_what_is_written_again_and_again_is_not_stale(scene: Scene) -> None:
    for _ in range(5):
        scene.write()
        scene.look(30)
    assert not StaleState.objects.exists()


def test_after_a_minute_it_is_stale_once_and_when_it_is_over_that_is_said(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.write()
    scene.look()
    scene.look(59)
    assert "status_stale" not in caplog.text
    scene.look(2)
    scene.look(30)
    assert caplog.text.count("status_stale: Portfolio p1 on n1") == 1
    assert "has not been written for 61 s" in caplog.text
    scene.write()
    scene.look(5)
    scene.look(5)
    assert caplog.text.count("status_stale resolved: Portfolio p1, its state is written again") == 1
    scene.look(61)
    assert caplog.text.count("status_stale: Portfolio p1") == 2, "another episode"


def test_a_state_that_was_never_written_is_stale_too(scene: Scene) -> None:
    scene.look()
    scene.look(61)
    assert StaleState.objects.get().portfolio_id == "p1"


@pytest.mark.parametrize("status", [Status.CREATED, Status.STOPPING, Status.STOPPED, Status.RELOADING])
def test_one_that_never_gets_live_is_stale_whatever_its_status(
    scene: Scene, caplog: pytest.LogCaptureFixture, status: Status
) -> None:
    Portfolio.objects.update(status=status)
    scene.write()  # where it ran before
    scene.look()
    scene.look(59)
    assert not StaleState.objects.exists()
    scene.look(2)
    said = f"p1 on n1 is to be running, but its state has not been written for 61 s (its status: {status})"
    assert said in caplog.text
    Portfolio.objects.update(status=Status.RUNNING)
    scene.look(1)
    assert StaleState.objects.exists(), "its status alone says nothing"
    scene.write()
    scene.look(1)
    assert not StaleState.objects.exists()


def test_one_that_has_just_been_given_to_a_node_has_a_minute_to_get_live(scene: Scene) -> None:
    Portfolio.objects.update(status=Status.STOPPED)
    Assignment.objects.update(node_id="")
    scene.write()
    scene.look()
    scene.look(300)
    assert not StaleState.objects.exists(), "nobody's: that it is not placed is said by who places it"
    Assignment.objects.update(node_id="n1")
    scene.look(5)
    scene.look(59)
    assert not StaleState.objects.exists()
    scene.look(1)
    assert StaleState.objects.exists()


def test_one_in_error_is_not_stale_for_nobody_goes_on_trying(scene: Scene) -> None:
    Portfolio.objects.update(status=Status.ERROR)
    scene.look()
    scene.look(61)
    assert not StaleState.objects.exists()


def test_another_scheduler_does_not_say_it_again_and_sees_its_end(
    scene: Scene, caplog: pytest.LogCaptureFixture
) -> None:
    scene.write()
    scene.look()
    scene.look(61)
    successor = Watch()
    scene.look(1, successor)
    scene.look(61, successor)
    assert caplog.text.count("status_stale: ") == 1
    scene.write()
    scene.look(1, Watch())
    assert not StaleState.objects.exists()


def test_a_clock_of_its_own_makes_no_node_stale(scene: Scene) -> None:
    for minutes in range(5):
        scene.write((datetime.now(UTC) - timedelta(hours=3, minutes=-minutes)).isoformat())
        scene.look(40)
    assert not StaleState.objects.exists()


def test_one_that_is_stopped_ends_its_episode(scene: Scene, caplog: pytest.LogCaptureFixture) -> None:
    scene.look()
    scene.look(61)
    Portfolio.objects.update(desired_state=DesiredState.STOPPED)
    scene.look(1)
    assert "status_stale resolved: Portfolio p1, no node is to run it any more" in caplog.text


def test_every_check_of_the_scheduler_looks(
    scene: Scene, herd: Herd, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(staleness.check, "__defaults__", (scene.watch,))
    herd.beat("n1")
    cycle.check(clock)
    clock.forward(61)
    cycle.check(clock)
    assert StaleState.objects.exists()
