"""Many rows of prices at once, a column at a time: what nearly every batch of a file takes.

Anything unusual (an empty cell among prices, a moment out of order) raises ValueError or TypeError, and whoever reads
the file takes that batch row by row (`columns.reader`), which says what is wrong and where.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from itertools import repeat
from math import isfinite
from operator import le
from typing import Any, TypeAlias

from portfolios.backtest.columns import Columns, Times, code_of, number, volume
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules

MakeTicks: TypeAlias = Callable[[Mapping[int, Sequence[Any]], datetime], list[PriceUpdate]]
"""Columns of rows, by their places, as prices in the order of their time, none before a moment; ValueError or TypeError
if that cannot be said of all of them."""


def batch_reader(columns: Columns, codes: Sequence[str], rules: MarketRules) -> MakeTicks:
    """What makes prices of columns that are in the places of `columns`."""
    times = Times(rules)
    at = columns.timestamp if columns.timestamp is not None else columns.date
    by_day = columns.timestamp is None
    price_at = columns.price
    assert at is not None and price_at is not None
    code_at, volume_at, prev_at = columns.code, columns.volume, columns.prev_close
    range_at = (columns.open, columns.high, columns.low)
    only_closes = volume_at is None and range_at == (None, None, None)
    nothing = repeat(None)
    known = {code: code for code in codes}

    def make(cells: Mapping[int, Sequence[Any]], last: datetime) -> list[PriceUpdate]:
        moments = times.closes(cells[at]) if by_day else times.moments(cells[at])
        if moments[0] < last or not all(map(le, moments, moments[1:])):
            raise ValueError("out of order")
        prices = list(map(float, cells[price_at]))
        if not isfinite(sum(prices)):
            raise ValueError("not a number")
        traded: Iterable[str] = repeat(codes[0]) if code_at is None else _codes(cells[code_at], known, rules.market)
        before: Iterable[float | None] = nothing if prev_at is None else _numbers(cells[prev_at])
        if only_closes:
            return [
                PriceUpdate(code=code, timestamp=moment, price=price, prev_close=prev, close=price)
                for code, moment, price, prev in zip(traded, moments, prices, before, strict=False)
            ]
        opens, highs, lows = (nothing if where is None else _numbers(cells[where]) for where in range_at)
        volumes = nothing if volume_at is None else _volumes(cells[volume_at])
        return [
            PriceUpdate(
                code=code, timestamp=moment, price=price, prev_close=prev, volume=size,
                open=first, high=high, low=low, close=price,
            )
            for code, moment, price, prev, size, first, high, low in zip(
                traded, moments, prices, before, volumes, opens, highs, lows, strict=False
            )
        ]  # fmt: skip

    return make


def _codes(cells: Sequence[Any], known: dict[str, str], market: str) -> Iterable[str]:
    for cell in set(cells).difference(known):
        code_of(cell, market, known)
    return map(known.__getitem__, cells)


def _numbers(cells: Sequence[Any]) -> Sequence[float | None]:
    try:
        numbers = list(map(float, cells))
        if isfinite(sum(numbers)):
            return numbers
    except (TypeError, ValueError):
        pass  # some cell is empty: each by itself
    return list(map(number, cells))


def _volumes(cells: Sequence[Any]) -> Sequence[int | None]:
    try:
        volumes = list(map(int, cells))
        if min(volumes) >= 0:
            return volumes
    except (TypeError, ValueError):
        pass  # some cell is empty, or a number with a point: each by itself
    return list(map(volume, cells))
