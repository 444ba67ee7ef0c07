"""How many events go in one go."""

from __future__ import annotations

from nodes.pace import Pace


def test_a_quick_portfolio_takes_more_in_one_go_and_a_slow_one_less() -> None:
    pace = Pace()
    for _ in range(20):
        pace.learn(pace.size, 0.001)
    assert pace.size == 2048
    pace.learn(2048, 4.0)
    assert pace.size == 1024
    pace.learn(4, 0.8)
    assert pace.size == 2
    for _ in range(5):
        pace.learn(pace.size, 0.2)
    assert pace.size == 1


def test_small_goes_say_nothing_about_large_ones() -> None:
    pace = Pace()
    pace.size = 16
    pace.learn(1, 0.002)
    assert pace.size == 16
