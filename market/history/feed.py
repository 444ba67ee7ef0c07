"""The replay feed out of history: `ginkgo feed start --source history`, ticks or bars with their own event time.

What history records of such a replay it records anew: ticks are known by their place in the log.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing
from datetime import datetime

from market.feeds.base import Batch, FeedError, Published, unpublished
from market.history.reader import PERIODS, HistoryAway, Reader
from market.history.source import prices
from market.topics import market_of
from portfolios.kernel.events import PriceUpdate

_CHUNK = 1000
"""Most ticks in a batch: what may be on its way to the log at once."""


class HistoryFeed:
    """`codes` of one market; `bar`: one of PERIODS, or None for ticks."""

    source = "history"

    def __init__(self, codes: Sequence[str], bar: str | None = None, as_fast_as_possible: bool = False) -> None:
        """Raises FeedError if history is away or has nothing of that."""
        if not codes:
            raise FeedError("a replay of history needs the codes: give them with --codes")
        if bar is not None and bar not in PERIODS:
            raise FeedError(f"history has no bars of {bar!r}: use {', '.join(PERIODS)}, or leave it out for ticks")
        markets = {market_of(code) for code in codes}
        if len(markets) > 1:
            raise FeedError(f"these are codes of several markets ({', '.join(sorted(markets))}): one feed a market")
        self.market = markets.pop()
        self.codes = tuple(codes)
        self._bar = bar
        self._hurry = as_fast_as_possible
        try:
            with Reader() as reader:
                span = reader.span(codes, bar)
        except HistoryAway as error:
            raise FeedError(str(error)) from None
        if not span.rows:
            raise FeedError(f"history has no {f'{bar} bars' if bar else 'ticks'} of {', '.join(codes)}")
        self._last = span.last

    def batches(self, published: Published) -> Iterator[Batch]:
        return unpublished(self._batches(published.newest), published)

    def _batches(self, since: datetime | None) -> Iterator[Batch]:
        """A batch for each moment; as fast as possible, as many moments as fit into one. What is there when it begins:
        a replay that is itself recorded must not chase its own tail."""
        waiting: list[PriceUpdate] = []
        before: datetime | None = None
        try:
            with Reader() as reader, closing(prices(reader, self.codes, self._bar, since)) as found:
                for tick in found:
                    if self._last is not None and tick.timestamp > self._last:
                        break
                    same = bool(waiting) and tick.timestamp == waiting[-1].timestamp
                    if waiting and ((not same and not self._hurry) or len(waiting) >= _CHUNK):
                        yield Batch(self._pause(before, waiting), waiting)
                        before, waiting = waiting[-1].timestamp, []
                    waiting.append(tick)
        except HistoryAway as error:
            raise FeedError(str(error)) from None
        if waiting:
            yield Batch(self._pause(before, waiting), waiting)

    def _pause(self, before: datetime | None, ticks: list[PriceUpdate]) -> float:
        if self._hurry or before is None:
            return 0.0
        return (ticks[0].timestamp - before).total_seconds()
