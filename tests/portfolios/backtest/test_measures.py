"""Each measure against a case computed by hand, and against a second, plain formula."""

from __future__ import annotations

import statistics
from datetime import date

import pytest

from portfolios.kernel.money import to_units
from portfolios.report import measures as m
from portfolios.report.trips import round_trips
from tests.portfolios.backtest.support import result, traded

# 100 → 110 → 99 → 99 → 121: returns +10 %, -10 %, 0, +22.22… %
EQUITY = (110.0, 99.0, 99.0, 121.0)
RETURNS = (0.1, -0.1, 0.0, 22 / 99)


def test_the_returns_of_the_sessions_start_from_the_initial_cash() -> None:
    assert m.returns_of(to_units(100), [to_units(each) for each in EQUITY]) == pytest.approx(RETURNS)
    assert m.returns_of(100, []) == []
    assert m.returns_of(100, [0, 50]) == [-1.0, 0.0]


def test_return_and_annual_return() -> None:
    found = m.measure(result(100, EQUITY))
    assert found.total_return == pytest.approx(0.21)
    assert found.annual_return == pytest.approx(1.21 ** (252 / 4) - 1)
    assert m.annual_return(100, 121, 504) == pytest.approx(0.1)  # 21 % in two years
    assert m.annual_return(100, 0, 10) == -1.0
    assert m.annual_return(1, 10**9, 1) is None


def test_volatility_and_sharpe_are_those_of_a_sample() -> None:
    spread = statistics.stdev(RETURNS)
    assert m.volatility(RETURNS) == pytest.approx(spread * 252**0.5)
    assert m.sharpe(RETURNS) == pytest.approx(statistics.mean(RETURNS) / spread * 252**0.5)
    # By hand: returns 1 % and 3 %, mean 2 %, deviation of the sample √2 %.
    assert m.sharpe([0.01, 0.03]) == pytest.approx(2 / 2**0.5 * 252**0.5)
    assert m.sharpe([0.01, 0.03], risk_free=0.01) == pytest.approx(1 / 2**0.5 * 252**0.5)


def test_sortino_divides_by_the_losses_over_all_sessions() -> None:
    # By hand: the only loss is 10 %, so the downside deviation is √(0.01 / 4) = 5 %.
    assert m.sortino(RETURNS) == pytest.approx(statistics.mean(RETURNS) / 0.05 * 252**0.5)
    assert m.sortino([0.1, 0.2]) is None


def test_what_is_not_defined_is_none() -> None:
    assert (m.sharpe([]), m.sharpe([0.1]), m.sharpe([0.0, 0.0]), m.sortino([])) == (None, None, None, None)
    assert (m.win_rate([]), m.profit_factor([]), m.turnover([], [])) == (None, None, None)
    assert m.annual_return(100, 110, 0) is None


def test_the_deepest_fall_its_days_and_its_recovery() -> None:
    days = [date(2024, 1, number) for number in range(1, 8)]
    fall = m.max_drawdown(100, days, [90, 120, 108, 60, 119, 121, 80])
    assert fall == m.Drawdown(0.5, days[1], days[3], days[5])
    assert m.max_drawdown(100, days[:2], [80, 90]) == m.Drawdown(0.2, None, days[0], None)
    assert m.max_drawdown(100, days[:2], [100, 101]) == m.Drawdown(0.0, None, None, None)
    assert m.drawdowns(100, [90, 120, 60]) == pytest.approx([-0.1, 0, -0.5])


def test_turnover_is_half_of_what_was_traded_over_the_mean_value_a_year() -> None:
    # 60 bought and 40 sold on a mean value of 100 in half a year: 0.5 in it, 1 a year.
    assert m.turnover([60, 40], [100] * 126) == pytest.approx(1.0)


def test_a_round_trip_is_from_flat_to_flat_fees_included() -> None:
    fills = [
        traded("2024-01-01", 1, 100, 10.0, 5),
        traded("2024-01-02", 1, 100, 12.0, 5),
        traded("2024-01-03", -1, 150, 13.0, 6),
        traded("2024-01-04", -1, 50, 13.0, 5),
        traded("2024-01-05", 1, 100, 10.0, 5),
        traded("2024-01-08", -1, 100, 9.0, 5),
        traded("2024-01-09", 1, 100, 9.0, 5),  # still held
    ]
    trips = round_trips(fills)
    assert [(trip.volume, trip.profit, trip.closed.day) for trip in trips] == [
        (200, to_units(2600 - 2200 - 21), 4),
        (100, to_units(-100 - 10), 8),
    ]
    assert m.win_rate(trips) == 0.5
    assert m.profit_factor(trips) == pytest.approx(379 / 110)
    assert m.measure(result(1000, [1000.0], fills)).fees == to_units(36)


def test_trips_of_several_codes_do_not_mix_and_a_turn_around_is_two() -> None:
    fills = [
        traded("2024-01-01", 1, 1, 100.0, code="IF2612.CFX"),
        traded("2024-01-01", 1, 100, 10.0),
        traded("2024-01-02", -1, 3, 110.0, 3, code="IF2612.CFX"),
        traded("2024-01-03", 1, 2, 105.0, code="IF2612.CFX"),
    ]
    assert [(trip.code, trip.volume, trip.profit) for trip in round_trips(fills)] == [
        ("IF2612.CFX", 1, to_units(10 - 1)),
        ("IF2612.CFX", 2, to_units(10 - 2)),
    ]
