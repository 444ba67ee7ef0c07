"""The measures of a backtest, each with its definition.

V_0 is the initial cash, V_1 … V_n the total value at the end of each of the n sessions, r_i = V_i / V_(i-1) - 1 the
return of a session. A measure that is not defined (no sessions, no variation, no trades) is None, never 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from portfolios.backtest.result import Result
from portfolios.report.trips import Trip, round_trips

SESSIONS_PER_YEAR = 252
"""The usual convention (the Shanghai exchange has some 243); it scales every annual figure."""


@dataclass(frozen=True, slots=True)
class Drawdown:
    """The deepest fall from a peak: `depth` as a share of the peak, the session of the peak (None: the start), that of
    the deepest point, and that in which the peak was reached again (None: not yet)."""

    depth: float
    peak: date | None
    trough: date | None
    recovered: date | None


@dataclass(frozen=True, slots=True)
class Measures:
    """Shares and ratios are plain numbers (0.1 is 10 %), money in units of 0.0001."""

    total_return: float
    annual_return: float | None
    volatility: float | None
    sharpe: float | None
    sortino: float | None
    drawdown: Drawdown
    turnover: float | None
    trades: int
    win_rate: float | None
    profit_factor: float | None
    fills: int
    fees: int


def measure(result: Result) -> Measures:
    """All measures of a result."""
    returns = returns_of(result.initial_cash, result.equity)
    trips = round_trips(result.fills)
    return Measures(
        total_return=result.final_value / result.initial_cash - 1,
        annual_return=annual_return(result.initial_cash, result.final_value, len(result.equity)),
        volatility=volatility(returns),
        sharpe=sharpe(returns),
        sortino=sortino(returns),
        drawdown=max_drawdown(result.initial_cash, result.days, result.equity),
        turnover=turnover([traded.fill.amount for traded in result.fills], result.equity),
        trades=len(trips),
        win_rate=win_rate(trips),
        profit_factor=profit_factor(trips),
        fills=len(result.fills),
        fees=result.fees,
    )


def returns_of(initial: int, equity: Sequence[int]) -> list[float]:
    """r_1 … r_n; after a value of zero or less there is nothing to earn on, and the return is 0."""
    before = [initial, *equity[:-1]] if equity else []
    return [now / then - 1 if then > 0 else 0.0 for then, now in zip(before, equity, strict=True)]


def annual_return(initial: int, final: int, sessions: int) -> float | None:
    """(V_n / V_0)^(252 / n) - 1, the geometric mean return a year (Bacon, Practical Portfolio Performance Measurement
    and Attribution, ch. 2). None without sessions, or where it is beyond all numbers."""
    if not sessions or initial <= 0:
        return None
    if final <= 0:
        return -1.0
    try:
        return float((final / initial) ** (SESSIONS_PER_YEAR / sessions)) - 1
    except OverflowError:
        return None


def volatility(returns: Sequence[float]) -> float | None:
    """Standard deviation of the sessions' returns (of a sample: n - 1), times the root of 252."""
    spread = _deviation(returns)
    return None if spread is None else spread * math.sqrt(SESSIONS_PER_YEAR)


def sharpe(returns: Sequence[float], risk_free: float = 0.0) -> float | None:
    """Mean excess return over its standard deviation (of a sample: n - 1), times the root of 252: Sharpe, The Sharpe
    Ratio, Journal of Portfolio Management 1994, eq. 3 to 6. `risk_free` is the return of a session without risk."""
    spread = _deviation(returns)
    if not spread:
        return None
    return (_mean(returns) - risk_free) / spread * math.sqrt(SESSIONS_PER_YEAR)


def sortino(returns: Sequence[float], target: float = 0.0) -> float | None:
    """Mean excess return over the downside deviation, times the root of 252: Sortino and Price, Performance Measurement
    in a Downside Risk Framework, Journal of Investing 1994. The downside deviation is the root of the mean of
    min(r - target, 0)^2 over all n sessions, those without a loss included."""
    if not returns:
        return None
    downside = math.sqrt(math.fsum(min(each - target, 0.0) ** 2 for each in returns) / len(returns))
    return (_mean(returns) - target) / downside * math.sqrt(SESSIONS_PER_YEAR) if downside else None


def max_drawdown(initial: int, days: Sequence[date], equity: Sequence[int]) -> Drawdown:
    """The largest (peak - V) / peak, the peak being the highest of V_0 … V so far (Magdon-Ismail and Atiya, Maximum
    Drawdown, Risk 2004). Of two that are as deep, the first."""
    peak, peak_day = initial, None
    deepest = Drawdown(0.0, None, None, None)
    bar = 0
    for day, value in zip(days, equity, strict=True):
        if deepest.trough is not None and deepest.recovered is None and value >= bar:
            deepest = Drawdown(deepest.depth, deepest.peak, deepest.trough, day)
        if value >= peak:
            peak, peak_day = value, day
        elif (peak - value) / peak > deepest.depth:
            deepest = Drawdown((peak - value) / peak, peak_day, day, None)
            bar = peak
    return deepest


def drawdowns(initial: int, equity: Sequence[int]) -> list[float]:
    """V / peak - 1 at the end of each session: 0 at a peak, -0.1 ten percent below it."""
    peak = initial
    under = []
    for value in equity:
        peak = max(peak, value)
        under.append(value / peak - 1 if peak > 0 else 0.0)
    return under


def turnover(amounts: Sequence[int], equity: Sequence[int]) -> float | None:
    """Half of all bought and sold, over the mean value, a year: 1 means that the portfolio was exchanged once a year.

    After SEC Form N-1A, item 13(a), instruction 4(d), which takes the lesser of purchases and sales; half of the sum is
    the same for a portfolio that comes and goes, and is not 0 for one that has only bought.
    """
    mean = _mean(equity) if equity else 0.0
    return math.fsum(amounts) / 2 / mean * SESSIONS_PER_YEAR / len(equity) if mean > 0 else None


def win_rate(trips: Sequence[Trip]) -> float | None:
    """The share of the round trips that made money after fees."""
    return sum(trip.profit > 0 for trip in trips) / len(trips) if trips else None


def profit_factor(trips: Sequence[Trip]) -> float | None:
    """What the winning round trips made over what the losing ones lost; None if none lost."""
    lost = -sum(trip.profit for trip in trips if trip.profit < 0)
    return sum(trip.profit for trip in trips if trip.profit > 0) / lost if lost else None


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values)


def _deviation(values: Sequence[float]) -> float | None:
    if len(values) < 2:
        return None
    mean = _mean(values)
    return math.sqrt(math.fsum((each - mean) ** 2 for each in values) / (len(values) - 1))
