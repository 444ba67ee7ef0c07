"""The sample: real daily closes of seven A-shares, 2019 to 2026, the same ticks in the same order as the sample feed's.

The data are the `marina-rules` wheel's bars (CC0), adjusted for dividends and splits. A day is one tick a code at 15:00
Shanghai, when the day's close is known.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from datetime import date
from importlib import resources

from portfolios.backtest.errors import BacktestError
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.rules import MarketRules

CODES = ("600519.SH", "603375.SH", "688981.SH", "000001.SZ", "300001.SZ", "300059.SZ", "301499.SZ")


class Sample:
    """All seven codes, whichever are traded: each has its place in the log."""

    def __init__(self, codes: Sequence[str], rules: MarketRules) -> None:
        """BacktestError for a code that is not of the sample."""
        unknown = [code for code in codes if code not in CODES]
        if unknown:
            raise BacktestError(f"the sample has no {', '.join(unknown)}: it has {', '.join(CODES)}")
        self._rules = rules
        self._share = 0.0

    @property
    def done(self) -> float:
        return self._share

    def ticks(self) -> Iterator[PriceUpdate]:
        days = by_day(CODES, self._rules)
        for number, (_, ticks) in enumerate(days, 1):
            self._share = number / len(days)
            yield from ticks


def by_day(codes: Sequence[str], rules: MarketRules) -> list[tuple[date, list[PriceUpdate]]]:
    """The closes of each day, by day, in the order of the codes. The sample feed's are the same."""
    days: dict[date, list[PriceUpdate]] = {}
    for code in codes:
        for day, tick in _bars(code, rules):
            days.setdefault(day, []).append(tick)
    return sorted(days.items())


def close_of(code: str, day: date, price: float, prev_close: float, rules: MarketRules) -> PriceUpdate:
    """A day's close as a price: known when the session closes, the day's only one."""
    return PriceUpdate(
        code=code,
        timestamp=rules.session_on(day).close,
        price=price,
        prev_close=prev_close,
        open=price,
        high=price,
        low=price,
        close=price,
    )


def _bars(code: str, rules: MarketRules) -> Iterator[tuple[date, PriceUpdate]]:
    """A first bar beyond its price limit is left out: its previous close is not adjusted as its close is. A close that
    only rounding takes beyond its limit, by one tick, is put on the limit."""
    digits, _, exchange = code.partition(".")
    name = f"data/samples/cn_bars/{exchange.lower()}.{digits}.csv"
    text = resources.files("marina_rules").joinpath(name).read_text(encoding="utf-8")
    found = False
    for row in csv.DictReader(text.splitlines()):
        day = date.fromisoformat(row["date"])
        close, prev_close = to_units(round(float(row["close"]), 2)), to_units(round(float(row["preclose"]), 2))
        limits = rules.limits(code, prev_close, day)
        if limits is not None:
            within = min(max(close, limits[0]), limits[1])
            if within != close and not found:
                continue
            if abs(within - close) <= rules.tick_size(code, day):
                close = within
        found = True
        yield day, close_of(code, day, to_float(close), to_float(prev_close), rules)
