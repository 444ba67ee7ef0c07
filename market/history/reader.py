"""Reads history, a row at a time: memory does not grow with what is asked for (SPEC M7, P8, P10).

Everything raises HistoryAway when its server does not answer, when there is no history yet, or when `timeout` is over.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Protocol, Self, TypeAlias
from urllib.parse import urlsplit

from django.conf import settings

from market.history import queries
from market.history.errors import HistoryAway
from market.history.queries import CLICKHOUSE, SQLITE, Dialect, Place, Question
from portfolios.kernel.events import PriceUpdate

__all__ = ["PERIODS", "Bar", "EquityPoint", "HistoryAway", "Place", "Reader", "Span"]

PERIODS = ("1m", "5m", "15m", "1h", "1d")
"""The bars that history keeps."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_BLOCK = 2048
_STEPS = 1000
"""Of SQLite's machine, between two looks at the clock."""

Ask: TypeAlias = Callable[[Dialect], Question]


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - _EPOCH) // _MICROSECOND


def moment(micros_: int) -> datetime:
    return _EPOCH + timedelta(microseconds=micros_)


@dataclass(frozen=True, slots=True)
class Bar:
    """A complete bar: `begins` and `timestamp` are the times of its first and last tick, `ends` its own end."""

    code: str
    begins: datetime
    timestamp: datetime
    ends: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int | None
    prev_close: float | None

    def tick(self) -> PriceUpdate:
        """As a backtest takes it: one price, the close, at the time of its last tick."""
        return PriceUpdate(
            code=self.code,
            timestamp=self.timestamp,
            price=self.close,
            prev_close=self.prev_close,
            volume=self.volume,
            open=self.open,
            high=self.high,
            low=self.low,
            close=self.close,
        )


class EquityPoint(NamedTuple):
    """What a portfolio was worth, in its currency, when it had seen the events up to `timestamp`."""

    timestamp: datetime
    cash: float
    frozen: float
    total_value: float
    position_count: int


class Span(NamedTuple):
    """What there is of something: `first` and `last` are None if there is nothing."""

    first: datetime | None
    last: datetime | None
    rows: int


class _Connection(Protocol):
    dialect: Dialect

    def ask(self, question: Question) -> Iterator[Sequence[Any]]: ...
    def close(self) -> None: ...


class Reader:
    """One connection, for one thread. Times in seconds; `address` as in stack.json, by default the configuration's.

    Use it as a context manager. `bars`, `ticks` and the like are generators: exhaust one before asking the next.
    """

    def __init__(self, address: str | None = None, timeout: float = 30.0) -> None:
        self._address: str = address or settings.GINKGO_RESOLVE().history
        self._timeout = timeout
        self._made: _Connection | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        made, self._made = self._made, None
        if made is not None:
            made.close()

    # Prices --------------------------------------------------------------------------------------------------------

    def ticks(
        self,
        codes: str | Iterable[str],
        start: datetime | None = None,
        end: datetime | None = None,
        before: Place | None = None,
    ) -> Iterator[PriceUpdate]:
        """Ticks of `codes` with start <= timestamp < end, in the order of their time; `before`: none from this place
        in the log on."""
        chosen = _codes(codes)
        for row in self._ask(lambda d: queries.ticks(d, chosen, _micros(start), _micros(end), before)):
            yield _tick(row)

    def bars(
        self,
        codes: str | Iterable[str],
        start: datetime | None = None,
        end: datetime | None = None,
        period: str = "1d",
    ) -> Iterator[Bar]:
        """Complete bars (`period`: one of PERIODS) of `codes` whose last tick lies in start <= timestamp < end, in the
        order of that."""
        chosen = _codes(codes)
        for row in self._ask(lambda d: queries.bars(d, chosen, period, _micros(start), _micros(end))):
            yield _bar(row)

    def last_ticks(self, codes: str | Iterable[str], count: int, before: Place | None = None) -> list[PriceUpdate]:
        """The last `count` ticks of each code, in the order of their time; `before` as in `ticks`."""
        chosen = _codes(codes)
        found = [_tick(row) for row in self._ask_all(lambda d: queries.last_ticks(d, chosen, count, before))]
        found.reverse()
        return sorted(found, key=lambda tick: tick.timestamp)

    def last_bars(
        self, codes: str | Iterable[str], count: int, before: Place | None = None, period: str = "1d"
    ) -> list[Bar]:
        """The last `count` complete bars of each code, in the order of their time; `before`: of a bar's last tick."""
        chosen = _codes(codes)
        found = [_bar(row) for row in self._ask_all(lambda d: queries.last_bars(d, chosen, period, count, before))]
        found.reverse()
        return sorted(found, key=lambda bar: bar.timestamp)

    def span(self, codes: Iterable[str], period: str | None = None) -> Span:
        """From when to when there are ticks of `codes`, or bars of a period, and how many."""
        table, chosen = "bars" if period else "ticks", _codes(codes)
        ((first, last, rows),) = self._ask(lambda d: queries.range_of(d, table, chosen, period))
        return Span(moment(first), moment(last), rows) if rows else Span(None, None, 0)

    # Portfolios ----------------------------------------------------------------------------------------------------

    def equity(
        self, portfolio_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[EquityPoint]:
        """Its value over the time of its events."""
        for row in self._ask(lambda d: queries.equity(d, portfolio_id, _micros(start), _micros(end))):
            yield EquityPoint(moment(row[0]), *row[1:])

    def positions(self, portfolio_id: str, at: datetime | None = None) -> list[dict[str, Any]]:
        """What it held at a moment of its events' time (None: last), by code: the fields of `queries.POSITION`."""
        rows = self._dicts(queries.POSITION, lambda d: queries.positions(d, portfolio_id, _micros(at)))
        return [row for row in rows if row["volume"]]

    def orders(
        self, portfolio_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[dict[str, Any]]:
        """All that was said about its orders (`queries.ORDER`), in the order of its time."""
        return self._dicts(queries.ORDER, lambda d: queries.orders(d, portfolio_id, _micros(start), _micros(end)))

    def fills(
        self, portfolio_id: str, start: datetime | None = None, end: datetime | None = None
    ) -> Iterator[dict[str, Any]]:
        """Its fills (`queries.FILL`), in the order of their time."""
        return self._dicts(queries.FILL, lambda d: queries.fills(d, portfolio_id, _micros(start), _micros(end)))

    def count(self, table: str) -> int:
        """How many rows a table has, each counted once."""
        ((rows,),) = (list(self._ask(lambda d: queries.count(d, table))),)
        return int(rows[0])

    # ---------------------------------------------------------------------------------------------------------------

    def _dicts(self, columns: Sequence[str], make: Ask) -> Iterator[dict[str, Any]]:
        at = columns.index("timestamp")
        for row in self._ask(make):
            yield {**dict(zip(columns, row, strict=True)), "timestamp": moment(row[at])}

    def _ask_all(self, make: Callable[[Dialect], list[Question]]) -> Iterator[Sequence[Any]]:
        connection = self._connection()
        for question in make(connection.dialect):
            yield from connection.ask(question)

    def _ask(self, make: Ask) -> Iterator[Sequence[Any]]:
        connection = self._connection()
        return connection.ask(make(connection.dialect))

    def _connection(self) -> _Connection:
        if self._made is None:
            self._made = _connect(self._address, self._timeout)
        return self._made


def _codes(codes: str | Iterable[str]) -> list[str]:
    return [codes] if isinstance(codes, str) else sorted(codes)


def _tick(row: Sequence[Any]) -> PriceUpdate:
    code, at, price, prev_close, volume, open_, high, low, close, bid, ask, bid_volume, ask_volume = row
    return PriceUpdate(
        code=code,
        timestamp=_EPOCH + timedelta(microseconds=at),
        price=price,
        prev_close=prev_close,
        volume=volume,
        open=open_,
        high=high,
        low=low,
        close=close,
        bid_price=bid,
        ask_price=ask,
        bid_volume=bid_volume,
        ask_volume=ask_volume,
    )


def _bar(row: Sequence[Any]) -> Bar:
    code, begins, timestamp, ends, *rest = row
    return Bar(code, moment(begins), moment(timestamp), moment(ends), *rest)


def _micros(at: datetime | None) -> int | None:
    return None if at is None else micros(at)


# Connections ---------------------------------------------------------------------------------------------------------


def _connect(address: str, timeout: float) -> _Connection:
    if address.startswith("sqlite"):
        return _SQLite(Path(address.removeprefix("sqlite:///")), timeout)
    return _ClickHouse(address, timeout)


class _SQLite:
    """Read-only: it never makes the file. `timeout` counts for its own work on each block of rows."""

    dialect = SQLITE

    def __init__(self, path: Path, timeout: float) -> None:
        if not path.is_file():
            raise HistoryAway(f"there is no history yet ({path}): 'ginkgo history run' writes it")
        self._path = path
        self._timeout = timeout
        self._deadline = 0.0
        with _sqlite_errors(path):
            self._connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=timeout)
            self._connection.set_progress_handler(lambda: time.monotonic() > self._deadline, _STEPS)

    def ask(self, question: Question) -> Iterator[Sequence[Any]]:
        with _sqlite_errors(self._path):
            self._deadline = time.monotonic() + self._timeout
            cursor = self._connection.execute(question.sql, question.parameters)
            while rows := cursor.fetchmany(_BLOCK):
                yield from rows
                # Whoever reads may take its time between two rows.
                self._deadline = time.monotonic() + self._timeout

    def close(self) -> None:
        self._connection.close()


@contextmanager
def _sqlite_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        reason = "it took too long" if str(error) == "interrupted" else str(error)
        raise HistoryAway(f"history ({path}) cannot be read: {reason}") from None


class _ClickHouse:
    """Over its native protocol. `timeout` is that of its connection and of each block it sends."""

    dialect = CLICKHOUSE

    def __init__(self, address: str, timeout: float) -> None:
        from clickhouse_driver import Client

        # It logs a refused connection with its traceback; here that is an answer.
        logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
        self._where = urlsplit(address).netloc.rpartition("@")[2]
        url = address.replace("clickhouse+native://", "clickhouse://", 1)
        patience = f"connect_timeout={timeout:g}&send_receive_timeout={timeout:g}&sync_request_timeout={timeout:g}"
        self._client = Client.from_url(f"{url}{'&' if '?' in url else '?'}{patience}")

    def ask(self, question: Question) -> Iterator[Sequence[Any]]:
        from clickhouse_driver.errors import Error as ClickHouseError

        whole = False
        try:
            yield from self._client.execute_iter(
                question.sql, dict(question.parameters), settings={"max_block_size": _BLOCK}
            )
            whole = True
        except (ClickHouseError, OSError, EOFError) as error:
            lines = str(error).split("Stack trace")[0].splitlines()
            reason = " ".join(line.strip() for line in lines if line.strip()) or type(error).__name__
            raise HistoryAway(f"history (ClickHouse at {self._where}) cannot be read: {reason}") from None
        finally:
            if not whole:
                # Rows that nobody wants any more are on the line: the next question gets a new one.
                self._client.disconnect()

    def close(self) -> None:
        self._client.disconnect()
