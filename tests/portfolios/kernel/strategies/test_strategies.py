"""Each strategy against a plain oracle that recomputes everything at every price."""

from __future__ import annotations

import random
from collections.abc import Callable
from datetime import timedelta
from fractions import Fraction
from statistics import mean, pstdev
from typing import Any

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.component import Strategy
from portfolios.kernel.registry import find
from tests.portfolios.kernel.harness import close_of, day, tick


def walk(seed: int, length: int = 600) -> list[float]:
    """A random walk in cents, as prices are."""
    chance = random.Random(seed)
    price, prices = 20.0, []
    for _ in range(length):
        price = round(max(price * (1 + chance.gauss(0, 0.01)), 1.0), 2)
        prices.append(price)
    return prices


def made(name: str, **params: Any) -> Strategy:
    component = find(name, "strategy")
    strategy = component(component.Params(**params))
    assert isinstance(strategy, Strategy)
    return strategy


def signals(strategy: Strategy, prices: list[float]) -> list[int]:
    memory = strategy.start()
    out = []
    for number, price in enumerate(prices):
        said = strategy.on_price(memory, tick(price, day(0) + timedelta(seconds=number)))
        assert said is None or isinstance(said, tuple)
        out.append(said.direction if said else 0)
    return out


def changes(zones: list[int]) -> list[int]:
    """1 or -1 wherever the zone changes to it; the first zone known, and 0 for 'no change', signal nothing."""
    out, last = [], 0
    for zone in zones:
        out.append(zone if zone and last and zone != last else 0)
        last = zone or last
    return out


@pytest.mark.parametrize(("short", "long"), [(1, 2), (2, 5), (5, 20), (20, 60)])
@pytest.mark.parametrize("seed", [1, 2])
def test_trend_follow_trades_like_two_rolling_means(short, long, seed):
    cents = pd.Series([round(price * 100) for price in walk(seed)])
    # Whole numbers throughout, so that a tie is a tie.
    above = cents.rolling(short).sum() * long - cents.rolling(long).sum() * short
    zones = [0 if pd.isna(value) else int(value > 0) - int(value < 0) for value in above]
    strategy = made("TrendFollowStrategy", short_period=short, long_period=long)
    found = signals(strategy, walk(seed))
    assert found == changes(zones)
    assert 1 in found and -1 in found
    assert strategy.warmup_bars == long


@pytest.mark.parametrize(("period", "entry", "leave"), [(5, 1.0, 0.0), (20, 2.0, 0.5), (10, 1.5, -0.5)])
def test_mean_reversion_buys_far_below_the_average_and_sells_when_back(period, entry, leave):
    prices = walk(3)
    zones = []
    for end in range(1, len(prices) + 1):
        window = prices[end - period : end]
        if end < period:
            zones.append(0)
            continue
        below = mean(window) - window[-1]
        spread = pstdev(window)
        zones.append(1 if below >= entry * spread and below > 1e-9 else -1 if below <= leave * spread else 0)
    found = signals(made("MeanReversionStrategy", period=period, entry=entry, exit=leave), prices)
    assert found == changes(zones)
    assert 1 in found and -1 in found


@pytest.mark.parametrize(("period", "buy", "sell"), [(1, 0.5, 0.0), (5, 1.0, -1.0), (20, 3.0, 0.0)])
def test_momentum_buys_a_rise_and_sells_when_it_is_gone(period, buy, sell):
    prices = walk(4)
    zones = []
    for number, price in enumerate(prices):
        if number < period:
            zones.append(0)
            continue
        rise = (Fraction(str(price)) / Fraction(str(prices[number - period])) - 1) * 100
        zones.append(1 if rise > buy else -1 if rise < sell else 0)
    found = signals(made("MomentumStrategy", period=period, buy_above=buy, sell_below=sell), prices)
    assert found == changes(zones)
    assert 1 in found and -1 in found


def dual_thrust(strategy: Strategy, sessions: list[list[float]], **fields: Any) -> list[list[int]]:
    memory = strategy.start()
    out = []
    for number, prices in enumerate(sessions):
        out.append([])
        for second, price in enumerate(prices):
            event = tick(price, day(number) + timedelta(hours=2, seconds=second), **fields)
            if second == 0:
                strategy.on_session(memory, event)
            said = strategy.on_price(memory, event)
            out[-1].append(said.direction if said else 0)
    return out


def test_dual_thrust_trades_the_breakout_from_the_range_of_the_sessions_before():
    strategy = made("DualThrustStrategy", sessions=2, k_up=0.5, k_down=0.25)
    # Range: max(12 - 10, 11 - 9) = 2, so 10 + 1 and 10 - 0.5.
    found = dual_thrust(strategy, [[10, 12, 9, 11], [10, 11, 9.5, 10], [10, 11, 11.01, 12, 9.5, 9.49, 9]])
    assert found[0] == found[1] == [0, 0, 0, 0]
    assert found[2] == [0, 0, 1, 0, 0, -1, 0]


def test_dual_thrust_counts_from_the_close_before_where_a_feed_has_closes_only():
    strategy = made("DualThrustStrategy", sessions=2, k_up=0.5, k_down=0.5)
    memory = strategy.start()
    found = []
    for number, price in enumerate([10.0, 11.0, 11.6, 10.0]):
        event = tick(price, close_of(number), open=price, high=price, low=price, close=price)
        strategy.on_session(memory, event)
        said = strategy.on_price(memory, event)
        found.append(said.direction if said else 0)
    # After 10 and 11 the range is 1: above 11 + 0.5; then after 11 and 11.6 it is 0.6: below 11.6 - 0.3.
    assert found == [0, 0, 1, -1]


@pytest.mark.parametrize("name", ["TrendFollowStrategy", "MeanReversionStrategy", "MomentumStrategy"])
@settings(max_examples=25, deadline=None)
@given(prices=st.lists(st.integers(1, 10**8).map(lambda cents: cents / 100), min_size=60, max_size=150))
def test_running_sums_never_drift_from_their_windows(name, prices):
    strategy = made(name)
    memory = strategy.start()
    for number, price in enumerate(prices):
        strategy.on_price(memory, tick(price, day(0) + timedelta(seconds=number)))
    units = [round(price * 10_000) for price in prices]
    checks: dict[str, Callable[[], bool]] = {
        "TrendFollowStrategy": lambda: (memory.short_sum, memory.long_sum) == (sum(units[-5:]), sum(units[-20:])),
        "MeanReversionStrategy": lambda: (
            (memory.total, memory.squares) == (sum(units[-20:]), sum(unit * unit for unit in units[-20:]))
        ),
        "MomentumStrategy": lambda: sorted(memory.window) == sorted(units[-20:]),
    }
    assert checks[name]()
