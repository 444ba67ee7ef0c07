"""Prices from a Parquet file, a batch of rows at a time. Needs `pyarrow`, which is not among the requirements."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

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
        self._codes = codes
        self._rules = rules
        self._read = 0
        try:
            self._file: Any = parquet.ParquetFile(path, memory_map=True)
        except (OSError, pyarrow.ArrowException) as error:
            raise BacktestError(f"{path}: is not a Parquet file ({str(error).splitlines()[0]})") from None
        self._rows: int = max(self._file.metadata.num_rows, 1)
        header = list(self._file.schema_arrow.names)
        columns = Columns(header, str(path), codes)
        # Only what is used is read, and in this order.
        places = {field: getattr(columns, field) for field in Columns.__slots__}
        self._header = [
            header[number] for number in sorted({number for number in places.values() if number is not None})
        ]
        self._columns = Columns(self._header, str(path), codes)

    @property
    def done(self) -> float:
        return min(self._read / self._rows, 1.0)

    def ticks(self) -> Iterator[PriceUpdate]:
        make = reader(self._columns, self._codes, self._rules)
        last = NEVER
        self._read = 0
        for batch in self._file.iter_batches(batch_size=_BATCH, columns=self._header):
            for number, row in enumerate(zip(*map(_values, batch.columns), strict=True), 1):
                try:
                    tick = make(row)
                    if tick.timestamp < last:
                        raise ValueError("is earlier than the row before it: sort the file by time")
                except (TypeError, ValueError, OverflowError, AttributeError) as error:
                    raise BacktestError(f"{self._path}, row {self._read + number}: {error}") from None
                last = tick.timestamp
                yield tick
            self._read += batch.num_rows


def _values(column: Any) -> list[Any]:
    """Plain Python objects: moments as datetime, to the microsecond, whatever unit they are stored in."""
    unit = getattr(column.type, "unit", None)
    if unit == "ns":
        import pyarrow

        column = column.cast(pyarrow.timestamp("us", tz=column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values
