"""Prices from a CSV file with a header, a piece at a time: memory does not grow with the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path

from portfolios.backtest.batch import batch_reader
from portfolios.backtest.columns import Columns, reader
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import NEVER
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules

_PIECE = 1 << 17
"""Bytes read at once: some thousand rows."""


class CsvFile:
    """A file of rows in the order of their time (`portfolios.backtest.columns`)."""

    def __init__(self, path: Path, codes: Sequence[str], rules: MarketRules) -> None:
        """BacktestError if it cannot be read, or lacks a column."""
        self._path = path
        self._read = 0
        try:
            self._size = max(path.stat().st_size, 1)
            with path.open(encoding="utf-8-sig", newline="") as file:
                header = next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BacktestError(f"{path}: {getattr(error, 'strerror', None) or 'is not a CSV file in UTF-8'}") from None
        columns = Columns(header, str(path), codes)
        self._width, self._used = len(header), columns.used
        self._make = batch_reader(columns, codes, rules)
        self._make_one = reader(columns, codes, rules)

    @property
    def done(self) -> float:
        return min(self._read / self._size, 1.0)

    def ticks(self) -> Iterator[PriceUpdate]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[PriceUpdate]]:
        last = NEVER
        for line, text in self._pieces():
            fault = None
            cells = cells_of(text, self._width, self._used)
            try:
                ticks = self._make(cells, last) if cells else None
            except (TypeError, ValueError, OverflowError):
                ticks = None  # the row that it is in says so
            if ticks is None:
                ticks, fault = self._row_by_row(text, line, last)
            if ticks:
                last = ticks[-1].timestamp
                yield ticks
            if fault is not None:
                raise fault

    def _row_by_row(self, text: str, line: int, last: datetime) -> tuple[list[PriceUpdate], BacktestError | None]:
        """The prices of a piece that begins with that line, up to the first fault."""
        ticks: list[PriceUpdate] = []
        rows = csv.reader(io.StringIO(text, newline=""))
        try:
            for row in rows:
                if not row:
                    continue
                tick = self._make_one(row)
                if tick.timestamp < last:
                    raise ValueError("is earlier than the row before it: sort the file by time")
                last = tick.timestamp
                ticks.append(tick)
        except IndexError:
            return ticks, BacktestError(f"{self._path}, line {line + rows.line_num - 1}: has too few columns")
        except (ValueError, OverflowError, csv.Error) as error:
            return ticks, BacktestError(f"{self._path}, line {line + rows.line_num - 1}: {error}")
        return ticks, None

    def _pieces(self) -> Iterator[tuple[int, str]]:
        """(number of its first line, text) of pieces of whole rows, without the header."""
        line = 1
        header = True
        with self._path.open("rb") as file:
            while data := file.readline() if header else file.read(_PIECE) + file.readline():
                # A quoted cell may go over several lines; a quote that never ends is for the row to tell.
                quotes, most = data.count(b'"'), len(data) + _PIECE
                while quotes % 2 and len(data) < most and (more := file.readline()):
                    data += more
                    quotes += more.count(b'"')
                self._read = file.tell()
                try:
                    text = data.decode("utf-8")
                except UnicodeDecodeError:
                    raise BacktestError(f"{self._path}, line {line} or after it: is not in UTF-8") from None
                if "\r" in text:
                    text = text.replace("\r\n", "\n").replace("\r", "\n")
                if not header:
                    yield line, text
                header = False
                line += text.count("\n")


def cells_of(text: str, width: int, used: Sequence[int]) -> dict[int, list[str]] | None:
    """The cells of the columns `used`, of rows that all have `width` plain cells; None if they have not.

    One split of the whole text, some three times as quick as a CSV reader: the end of each row becomes a cell of its
    own, and where those stand tells whether each row has as many cells as it must.
    """
    if '"' in text:
        return None
    if not text.endswith("\n"):
        text += "\n"
    cells = text.replace("\n", ",\n,").split(",")
    del cells[-1]
    step = width + 1
    ends = cells[width::step]
    if len(cells) != len(ends) * step or not len(ends) == ends.count("\n") == text.count("\n"):
        return None
    return {place: cells[place::step] for place in used}
