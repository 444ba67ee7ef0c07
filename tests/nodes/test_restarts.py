"""How long a portfolio that died waits before it is started again."""

from __future__ import annotations

from nodes.restarts import Restarts


def _deaths(restarts: Restarts, count: int, now: float = 0.0) -> list[float]:
    """It dies so often, each time at once after its start; how long it waits each time."""
    pauses = []
    for _ in range(count):
        restarts.started("p", now)
        pauses.append(restarts.died("p", now))
        now += pauses[-1]
    return pauses


def test_one_that_never_died_is_started_at_once() -> None:
    assert Restarts().wait("p", 0.0) == 0.0


def test_each_death_doubles_the_wait_up_to_half_a_minute() -> None:
    assert _deaths(Restarts(), 8) == [1, 2, 4, 8, 16, 30, 30, 30]


def test_it_waits_for_what_is_left_of_it() -> None:
    restarts = Restarts()
    _deaths(restarts, 2)  # at 0 and at 1, where it is to wait for two seconds
    assert restarts.wait("p", 1.5) == 1.5
    assert restarts.wait("p", 3.0) == 0.0
    assert restarts.wait("another", 1.5) == 0.0


def test_one_that_has_lived_for_a_minute_begins_anew() -> None:
    restarts = Restarts()
    _deaths(restarts, 5)
    restarts.started("p", 100.0)
    assert restarts.died("p", 159.9) == 30.0
    restarts.started("p", 200.0)
    assert restarts.died("p", 260.0) == 1.0


def test_forgotten_it_is_started_at_once_and_its_next_death_is_the_first() -> None:
    restarts = Restarts()
    _deaths(restarts, 3)
    restarts.forget("p")
    assert restarts.wait("p", 0.0) == 0.0
    assert _deaths(restarts, 1) == [1]
