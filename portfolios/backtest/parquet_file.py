"""Prices from a Parquet file, a batch of rows at a time. Needs `pyarrow`, which is not among the requirements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

from portfolios.backtest.batch import batch_reader
from portfolios.backtest.columns import Columns, reader
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import NEVER
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules

_BATCH = 8192


class ParquetFile:
    """A file of rows in the order of their time (`portfolios.backtest.columns`)."""

    def __init__(self, path: Path, codes: Sequence[str], rules: MarketRules) -> None:
        """BacktestError if it cannot be read, or lacks a column."""
        try:
            import pyarrow  # type: ignore[import-not-found, unused-ignore]
            from pyarrow import parquet  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise BacktestError(f"{path}: reading Parquet needs pyarrow ('pip install pyarrow'), or use CSV") from None
        self._path = path
        self._read = 0
        try:
            self._file: Any = parquet.ParquetFile(path, memory_map=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise BacktestError(f"{path}: is not a Parquet file ({str(error).splitlines()[0]})") from None
        self._rows: int = max(self._file.metadata.num_rows, 1)
        names = list(self._file.schema_arrow.names)
        # Only what is used is read, and in this order.
        self._names = [names[place] for place in Columns(names, str(path), codes).used]
        columns = Columns(self._names, str(path), codes)
        self._make = batch_reader(columns, codes, rules)
        self._make_one = reader(columns, codes, rules)

    @property
    def done(self) -> float:
        return min(self._read / self._rows, 1.0)

    def ticks(self) -> Iterator[PriceUpdate]:
        return chain.from_iterable(self._batches())

    def _batches(self) -> Iterator[list[PriceUpdate]]:
        last = NEVER
        self._read = 0
        for batch in self._file.iter_batches(batch_size=_BATCH, columns=self._names):
            columns = [_values(column) for column in batch.columns]
            fault = None
            try:
                ticks = self._make(dict(enumerate(columns)), last)
            except (TypeError, ValueError, OverflowError, AttributeError):
                ticks, fault = self._row_by_row(columns, last)  # the row that it is in says so
            if ticks:
                last = ticks[-1].timestamp
                yield ticks
            if fault is not None:
                raise fault
            self._read += batch.num_rows

    def _row_by_row(
        self, columns: Sequence[Sequence[Any]], last: datetime
    ) -> tuple[list[PriceUpdate], BacktestError | None]:
        """The prices of a batch up to the first fault."""
        ticks: list[PriceUpdate] = []
        for number, row in enumerate(zip(*columns, strict=True), self._read + 1):
            try:
                tick = self._make_one(row)
                if tick.timestamp < last:
                    raise ValueError("is earlier than the row before it: sort the file by time")
            except (TypeError, ValueError, OverflowError, AttributeError) as error:
                return ticks, BacktestError(f"{self._path}, row {number}: {error}")
            last = tick.timestamp
            ticks.append(tick)
        return ticks, None


def _values(column: Any) -> list[Any]:
    """Plain Python objects: moments as datetime, to the microsecond, whatever unit they are stored in."""
    unit = getattr(column.type, "unit", None)
    if unit == "ns":
        import pyarrow

        column = column.cast(pyarrow.timestamp("us", tz=column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values
