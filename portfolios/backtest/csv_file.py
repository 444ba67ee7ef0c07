"""Prices from a CSV file with a header, a row at a time: memory does not grow with the file."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from portfolios.backtest.columns import Columns, reader
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import NEVER
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules


class CsvFile:
    """A file of rows in the order of their time (`portfolios.backtest.columns`)."""

    def __init__(self, path: Path, codes: Sequence[str], rules: MarketRules) -> None:
        """BacktestError if it cannot be read, or lacks a column."""
        self._path = path
        self._codes = codes
        self._rules = rules
        self._file: io.IOBase | None = None
        try:
            self._size = max(path.stat().st_size, 1)
            with path.open(encoding="utf-8-sig", newline="") as file:
                header = next(csv.reader(file), [])
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise BacktestError(f"{path}: {getattr(error, 'strerror', None) or 'is not a CSV file in UTF-8'}") from None
        self._columns = Columns(header, str(path), codes)

    @property
    def done(self) -> float:
        file = self._file
        return 0.0 if file is None or file.closed else file.tell() / self._size

    def ticks(self) -> Iterator[PriceUpdate]:
        make = reader(self._columns, self._codes, self._rules)
        last = NEVER
        with io.BufferedReader(io.FileIO(self._path), 1 << 18) as file:
            self._file = file
            rows = csv.reader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            try:
                next(rows)
                for row in rows:
                    if not row:
                        continue
                    tick = make(row)
                    if tick.timestamp < last:
                        raise ValueError("is earlier than the row before it: sort the file by time")
                    last = tick.timestamp
                    yield tick
            except IndexError:
                raise BacktestError(f"{self._path}, line {rows.line_num}: has too few columns") from None
            except (ValueError, OverflowError, csv.Error) as error:
                raise BacktestError(f"{self._path}, line {rows.line_num}: {error}") from None
