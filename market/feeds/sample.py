"""The sample feed: real daily closes of seven A-shares, 2019 to 2026, then a seeded walk on from their last prices.

The data are the `marina-rules` wheel's sample bars (CC0): date, close and previous close, adjusted for dividends and
splits. A day is one tick a code at 15:00 Shanghai, when the day's close is known.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, date, datetime, time
from importlib import resources
from typing import NamedTuple

from market.feeds.base import Batch, FeedError, Published, unpublished
from market.feeds.walk import daily
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.rules import MarketRules, rules_for
from portfolios.kernel.rules.cn import SHANGHAI

CODES = ("600519.SH", "603375.SH", "688981.SH", "000001.SZ", "300001.SZ", "300059.SZ", "301499.SZ")

_CLOSE = time(15, 0, tzinfo=SHANGHAI)


class Bar(NamedTuple):
    """A day of one code: prices in CNY, rounded to 0.01."""

    code: str
    day: date
    close: float
    prev_close: float


class SampleFeed:
    """One trading day is one batch, a second long at speed 1; always the same story for the same seed."""

    source = "sample"
    market = "cn"

    def __init__(self, codes: Sequence[str] = CODES, seed: int = 7, trading_days: Sequence[date] = ()) -> None:
        """`trading_days`: those after the sample's end. Raises FeedError for a code that is not of the sample."""
        unknown = [code for code in codes if code not in CODES]
        if unknown:
            raise FeedError(f"the sample has no {', '.join(unknown)}: it has {', '.join(CODES)}")
        self.codes = tuple(code for code in CODES if code in codes)
        self._seed = seed
        self._rules = rules_for("cn", trading_days)

    def batches(self, published: Published) -> Iterator[Batch]:
        return unpublished((Batch(1.0, [_tick(bar) for bar in day]) for day in self._story()), published)

    def _story(self) -> Iterator[list[Bar]]:
        last: dict[str, Bar] = {}
        for day in by_day(bars(code, self._rules) for code in self.codes):
            last.update((bar.code, bar) for bar in day)
            yield day
        end = max(bar.day for bar in last.values())
        prices = {code: bar.close for code, bar in last.items()}
        for today, steps in daily(prices, end, self._seed, self._rules):
            yield [Bar(code, today, price, prev_close) for code, price, prev_close in steps]


def bars(code: str, rules: MarketRules) -> list[Bar]:
    """The sample's bars of a code, by day.

    A first one beyond its price limit is left out: its previous close is not adjusted as its close is.
    A close that only rounding takes beyond its limit, by one tick, is put on the limit.
    """
    digits, _, exchange = code.partition(".")
    name = f"data/samples/cn_bars/{exchange.lower()}.{digits}.csv"
    text = resources.files("marina_rules").joinpath(name).read_text(encoding="utf-8")
    found: list[Bar] = []
    for row in csv.DictReader(text.splitlines()):
        day = date.fromisoformat(row["date"])
        close, prev_close = to_units(round(float(row["close"]), 2)), to_units(round(float(row["preclose"]), 2))
        limits = rules.limits(code, prev_close, day)
        if limits is not None:
            tick = rules.tick_size(code, day)
            within = min(max(close, limits[0]), limits[1])
            if within != close and not found:
                continue
            if abs(within - close) <= tick:
                close = within
        found.append(Bar(code, day, to_float(close), to_float(prev_close)))
    return found


def by_day(series: Iterable[list[Bar]]) -> Iterator[list[Bar]]:
    """The bars of all codes, a list a day, in the order of the days."""
    days: dict[date, list[Bar]] = {}
    for each in series:
        for bar in each:
            days.setdefault(bar.day, []).append(bar)
    for day in sorted(days):
        yield days[day]


def _tick(bar: Bar) -> PriceUpdate:
    return PriceUpdate(
        code=bar.code,
        timestamp=datetime.combine(bar.day, _CLOSE).astimezone(UTC),
        price=bar.close,
        prev_close=bar.prev_close,
        open=bar.close,
        high=bar.close,
        low=bar.close,
        close=bar.close,
    )
