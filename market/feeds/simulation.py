"""The simulated market: trading sessions of seeded random ticks, with quiet codes, gaps and bursts.

Event time goes in rounds of three seconds, as the exchanges' snapshots do; a round tells of every code that traded in
it. The same seed, codes and first day give the same ticks. After a restart it goes on from the last published prices
and time with a new generator, so it never runs backwards.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from market.feeds.base import Batch, FeedError, Published
from market.feeds.walk import on_grid
from portfolios.kernel.codes import market_of
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_float, to_units
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.cn import SHANGHAI

FIRST_DAY = date(2026, 1, 5)
_HOURS = ((time(9, 30), time(11, 30)), (time(13, 0), time(15, 0)))
_ROUND = timedelta(seconds=3)
_OVERNIGHT = 0.008
_ROUND_VOLATILITY = 0.0006
_GAP_CHANCE = 0.0005
_BURST_CHANCE = 0.002
_BATCHES_PER_SECOND = 50


@dataclass
class _Quote:
    """One code's day so far, prices in units. `activity`: its chance to trade in a round; `silent`: rounds left out."""

    code: str
    price: int
    prev_close: int
    activity: float
    open: int = 0
    high: int = 0
    low: int = 0
    silent: int = 0

    def move(self, price: int) -> None:
        self.price = price
        self.open = self.open or price
        self.high = max(self.high, price)
        self.low = min(self.low or price, price)

    def new_day(self) -> None:
        self.prev_close = self.price
        self.open = self.high = self.low = self.silent = 0


class SimulationFeed:
    """`rate`: messages a second at speed 1, whatever the number of codes; event time goes as fast as that takes."""

    source = "simulation"
    market = "cn"

    def __init__(
        self,
        codes: Sequence[str],
        seed: int = 7,
        rate: float = 1000.0,
        trading_days: Sequence[date] = (),
        first_day: date = FIRST_DAY,
    ) -> None:
        foreign = [code for code in codes if market_of(code) != "cn"]
        if foreign:
            raise FeedError(f"the simulation trades A-shares, not {', '.join(foreign[:5])}")
        if not codes:
            raise FeedError("the simulation needs codes: give them with --codes")
        self.codes = tuple(dict.fromkeys(codes))
        self._seed = seed
        self._rate = rate
        self._first_day = first_day
        self._rules = rules_for("cn", trading_days)

    def batches(self, published: Published) -> Iterator[Batch]:
        size = max(1, int(self._rate / _BATCHES_PER_SECOND))
        waiting: list[PriceUpdate] = []
        for tick in self._ticks(published):
            waiting.append(tick)
            if len(waiting) >= size:
                yield Batch(len(waiting) / self._rate, waiting)
                waiting = []

    def _ticks(self, published: Published) -> Iterator[PriceUpdate]:
        since = published.newest
        generator = random.Random(f"{self._seed}:{since.isoformat() if since else 'start'}")
        day = since.astimezone(SHANGHAI).date() if since else self._first_day
        quotes = [self._quote(code, published, day) for code in self.codes]
        while True:
            day = self._rules.session_on(day).day
            yield from self._day(quotes, day, since, generator)
            for quote in quotes:
                quote.new_day()
            day += timedelta(days=1)

    def _day(
        self, quotes: list[_Quote], day: date, since: datetime | None, generator: random.Random
    ) -> Iterator[PriceUpdate]:
        burst = 0
        for moment in _rounds(day):
            if since is not None and moment <= since:
                continue
            burst = burst - 1 if burst else (generator.randint(5, 20) if generator.random() < _BURST_CHANCE else 0)
            trading = [quote for quote in quotes if self._trades(quote, burst > 0, generator)]
            for number, quote in enumerate(trading):
                self._move(quote, day, burst > 0, generator)
                # Spread over the round, in the order in which they are told.
                yield _tick(quote, moment + _ROUND * number / len(trading), burst > 0, generator)

    def _trades(self, quote: _Quote, burst: bool, generator: random.Random) -> bool:
        if quote.silent:
            quote.silent -= 1
            return False
        if generator.random() < _GAP_CHANCE:
            quote.silent = generator.randint(20, 200)
            return False
        return burst or not quote.open or generator.random() < quote.activity

    def _move(self, quote: _Quote, day: date, burst: bool, generator: random.Random) -> None:
        volatility = _ROUND_VOLATILITY * (4 if burst else 1) if quote.open else _OVERNIGHT
        price = quote.price * math.exp(generator.gauss(0.0, volatility))
        quote.move(on_grid(quote.code, price, quote.prev_close, day, self._rules))

    def _quote(self, code: str, published: Published, day: date) -> _Quote:
        own = random.Random(f"{self._seed}:{code}")
        price = to_units(round(math.exp(own.uniform(math.log(5), math.log(200))), 2))
        activity = own.uniform(0.2, 1.0)
        last = published.last.get(code)
        if last is None:
            return _Quote(code, price, price, activity)
        price = to_units(last.price)
        if last.timestamp.astimezone(SHANGHAI).date() != day:
            return _Quote(code, price, price, activity)
        prev_close = price if last.prev_close is None else to_units(last.prev_close)
        quote = _Quote(code, price, prev_close, activity)
        quote.open, quote.high, quote.low = (to_units(p or last.price) for p in (last.open, last.high, last.low))
        return quote


def _rounds(day: date) -> Iterator[datetime]:
    for opening, closing in _HOURS:
        moment = datetime.combine(day, opening, SHANGHAI).astimezone(UTC)
        end = datetime.combine(day, closing, SHANGHAI).astimezone(UTC)
        while moment < end:
            yield moment
            moment += _ROUND


def _tick(quote: _Quote, moment: datetime, burst: bool, generator: random.Random) -> PriceUpdate:
    price = to_float(quote.price)
    return PriceUpdate(
        code=quote.code,
        timestamp=moment,
        price=price,
        prev_close=to_float(quote.prev_close),
        volume=generator.randint(1, 400) * 100 * (5 if burst else 1),
        open=to_float(quote.open),
        high=to_float(quote.high),
        low=to_float(quote.low),
        close=price,
        bid_price=round(price - 0.01, 2) or None,
        ask_price=round(price + 0.01, 2),
        bid_volume=generator.randint(1, 300) * 100,
        ask_volume=generator.randint(1, 300) * 100,
    )
