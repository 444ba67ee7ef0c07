"""The sample feed: real daily closes of seven A-shares, 2019 to 2026, then a seeded walk on from their last prices.

The closes are those that a backtest on the sample reads (`portfolios.backtest.sample`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date

from market.feeds.base import Batch, FeedError, Published, unpublished
from market.feeds.walk import daily
from portfolios.backtest.sample import CODES, by_day, close_of
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import rules_for

__all__ = ["CODES", "SampleFeed"]


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
        return unpublished((Batch(1.0, ticks) for ticks in self._story()), published)

    def _story(self) -> Iterator[list[PriceUpdate]]:
        prices: dict[str, float] = {}
        days = by_day(self.codes, self._rules)
        for _, ticks in days:
            prices.update((tick.code, tick.price) for tick in ticks)
            yield ticks
        for today, steps in daily(prices, days[-1][0], self._seed, self._rules):
            yield [close_of(code, today, price, prev_close, self._rules) for code, price, prev_close in steps]
