"""What counts of a window's orders."""

from __future__ import annotations

from ginkgo_site.drill.delays import Delay, within


def test_an_order_belongs_to_the_window_of_its_tick() -> None:
    delays = [Delay(1.0, 5.0), Delay(3.0, 7.0), Delay(9.0, 50.0)]
    assert within(delays, [(0.5, 2.0), (2.5, 3.5)]) == [5.0, 7.0]
