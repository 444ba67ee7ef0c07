"""The columns of a file of prices: what they are called, and how a row becomes a price.

* `timestamp` (or `datetime`, `time`): RFC 3339; without a zone it is the market's own time. Or `date`: a daily bar,
  known when its session closes.
* `price` or `close`; `code`, unless only one is traded. Optional: `open`, `high`, `low`, `prev_close` (`preclose`),
  `volume` (what can be traded of it; without it any volume can).
* An empty cell is a value that is not known. Other columns are ignored.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from portfolios.backtest.errors import BacktestError
from portfolios.kernel.codes import fault_of
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules

_NAMES = {
    "timestamp": ("timestamp", "datetime", "time"),
    "date": ("date", "day"),
    "code": ("code", "symbol"),
    "price": ("price", "close"),
    "open": ("open",),
    "high": ("high",),
    "low": ("low",),
    "prev_close": ("prev_close", "preclose", "pre_close"),
    "volume": ("volume",),
}

MakeTick: TypeAlias = Callable[[Sequence[Any]], PriceUpdate]
"""A row as a price; ValueError for one that is none."""


class Columns:
    """The places of the columns in a row; None for one that is not there."""

    __slots__ = tuple(_NAMES)

    def __init__(self, header: Sequence[str], file: str, codes: Sequence[str]) -> None:
        """BacktestError if a column that is needed is missing."""
        places = {name.strip().lower(): number for number, name in enumerate(header)}
        for field, names in _NAMES.items():
            setattr(self, field, next((places[name] for name in names if name in places), None))
        missing = []
        if self.timestamp is None and self.date is None:
            missing.append("'timestamp' or 'date'")
        if self.price is None:
            missing.append("'price' or 'close'")
        if self.code is None and len(codes) != 1:
            missing.append(f"'code' (the portfolio has {len(codes)})")
        if missing:
            raise BacktestError(f"{file}: there is no column {', nor '.join(missing)}; it has {', '.join(header)}")

    @property
    def used(self) -> list[int]:
        """The places of all that are there, from left to right."""
        places = (getattr(self, field) for field in _NAMES)
        return sorted({place for place in places if place is not None})

    timestamp: int | None
    date: int | None
    code: int | None
    price: int | None
    open: int | None
    high: int | None
    low: int | None
    prev_close: int | None
    volume: int | None


class Times:
    """Moments in UTC: of a text, of a day (its session's close), of a moment without a zone (the market's own)."""

    __slots__ = ("_closes", "_offset", "_rules", "_zone")

    def __init__(self, rules: MarketRules) -> None:
        self._rules = rules
        self._zone = rules.zone
        self._offset = rules.zone.utcoffset(None)  # None where it changes over the year
        self._closes: dict[str | date, datetime] = {}

    def moment(self, value: str | datetime) -> datetime:
        offset = self._offset
        if offset is not None and isinstance(value, str) and len(value) == 19:
            # The usual form, `2024-01-02 09:31:00`, in a zone whose offset never changes: the quick way.
            return datetime.fromisoformat(value + "Z") - offset
        at = datetime.fromisoformat(value) if isinstance(value, str) else value
        if at.tzinfo is None:
            at = at.replace(tzinfo=self._zone)
        return at if at.tzinfo is UTC else at.astimezone(UTC)

    def moments(self, values: Sequence[Any]) -> list[datetime]:
        """`moment` of each; the moments of several codes are the same, and are made once."""
        distinct = dict.fromkeys(values)
        if 2 * len(distinct) <= len(values):
            known = dict(zip(distinct, self._moments(distinct), strict=True))
            return [known[value] for value in values]
        return self._moments(values)

    def _moments(self, values: Collection[Any]) -> list[datetime]:
        offset, read = self._offset, datetime.fromisoformat
        if set(map(type, values)) != {str}:
            return [self.moment(value) for value in values]
        if offset is not None and set(map(len, values)) == {19}:
            return [read(value + "Z") - offset for value in values]
        return [at if at.tzinfo is UTC else self.moment(at) for at in map(read, values)]

    def closes(self, values: Sequence[Any]) -> list[datetime]:
        """`close` of each."""
        known = self._closes
        for value in set(values).difference(known):
            self.close(value)
        return [known[value] for value in values]

    def close(self, value: str | date) -> datetime:
        known = self._closes.get(value)
        if known is None:
            if isinstance(value, datetime):
                day = value.date()
            else:
                day = value if isinstance(value, date) else datetime.fromisoformat(value).date()
            session = self._rules.session_on(day)
            if session.day != day:
                raise ValueError(f"{day} is no trading day of market {self._rules.market}")
            known = self._closes[value] = session.close
        return known


def reader(columns: Columns, codes: Sequence[str], rules: MarketRules) -> MakeTick:
    """What makes a price of a row, as quickly as it can be done for these columns."""
    times = Times(rules)
    if columns.timestamp is not None:
        at, when = columns.timestamp, times.moment
    else:
        assert columns.date is not None
        at, when = columns.date, times.close  # type: ignore[assignment]
    price_at = columns.price
    assert price_at is not None
    code_at, volume_at, prev_at = columns.code, columns.volume, columns.prev_close
    open_at, high_at, low_at = columns.open, columns.high, columns.low
    only = codes[0]
    known: dict[str, str] = {code: code for code in codes}

    def make(row: Sequence[Any]) -> PriceUpdate:
        price = float(row[price_at] or _absurd(row[price_at]))
        code = only
        if code_at is not None:
            code = known.get(row[code_at]) or code_of(row[code_at], rules.market, known)
        return PriceUpdate(
            code=code,
            timestamp=when(row[at]),
            price=price if price - price == 0 else _absurd(price),
            prev_close=None if prev_at is None else number(row[prev_at]),
            volume=None if volume_at is None else volume(row[volume_at]),
            open=None if open_at is None else number(row[open_at]),
            high=None if high_at is None else number(row[high_at]),
            low=None if low_at is None else number(row[low_at]),
            close=price,
        )

    return make


def number(cell: Any) -> float | None:
    if cell is None or cell == "":
        return None
    value = float(cell)
    return value if value - value == 0 else None  # neither infinite nor not a number


def volume(cell: Any) -> int | None:
    amount = number(cell)
    if amount is None:
        return None
    if amount < 0:
        raise ValueError(f"has a volume of {amount:g}")
    return int(amount)


def _absurd(price: object) -> float:
    if price == 0:
        return 0.0  # a suspended day in some files: the portfolio refuses it as it does live
    raise ValueError("has no price" if price in (None, "") else f"has a price of {price}")


def code_of(cell: Any, market: str, known: dict[str, str]) -> str:
    """A code that is not traded here but is in the stream; kept once."""
    fault = fault_of(cell, market)
    if fault is not None:
        raise ValueError(fault)
    code = known[cell] = str(cell)
    return code
