"""Where a backtest's prices come from: the sample, history, a CSV or a Parquet file, read as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from django.conf import settings
from django.utils.module_loading import import_string

from portfolios.backtest.csv_file import CsvFile
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.parquet_file import ParquetFile
from portfolios.backtest.recorded import RecordedFile, is_recorded
from portfolios.backtest.sample import Sample
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import MarketRules


class Source(Protocol):
    """Prices in the order of their time. `done` is the share of it that has been read, from 0 to 1."""

    @property
    def done(self) -> float: ...

    def ticks(self) -> Iterator[PriceUpdate]:
        """From the beginning, every time. BacktestError for what cannot be read, with the row it is in."""


def open_source(data: str, codes: Sequence[str], rules: MarketRules) -> Source:
    """`data` is `sample`, `history` (ticks), `history:1d` (bars), or the name of a .csv or .parquet file; `codes` are
    those that will be traded.

    BacktestError for another, for a file that is not there, and for one without the columns it needs.
    """
    if data == "sample":
        return Sample(codes, rules)
    if data.partition(":")[0] == "history":
        # An upper layer's: known by its name in the settings alone.
        opened: Source = import_string(settings.GINKGO_HISTORY)(data, codes)
        return opened
    path = Path(data)
    if not path.is_file():
        what = "is a directory" if path.is_dir() else "there is no such file"
        raise BacktestError(f"{data}: {what}; --data takes 'sample', 'history', a .csv or a .parquet file")
    if path.suffix.lower() == ".csv":
        return RecordedFile(path) if is_recorded(path) else CsvFile(path, codes, rules)
    if path.suffix.lower() in (".parquet", ".pq"):
        return ParquetFile(path, codes, rules)
    raise BacktestError(f"{data}: --data takes 'sample', 'history', a .csv or a .parquet file")
