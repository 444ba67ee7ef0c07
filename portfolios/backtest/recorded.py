"""A recorded stream: prices with their places in the log, as `ginkgo feed record` writes them.

In the order in which they were published, under the columns of `COLUMNS`. A backtest on it names its orders after the
very places that the live portfolio read (SPEC P8).
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TextIO

import msgspec

from portfolios.backtest.errors import BacktestError
from portfolios.kernel.codes import fault_of
from portfolios.kernel.events import Cause, PriceUpdate

PLACE = ("topic", "partition", "offset")
FIGURES = tuple(field for field in PriceUpdate.__struct_fields__ if field not in ("v", "timestamp"))
COLUMNS = (*PLACE, "timestamp", *FIGURES)


def is_recorded(path: Path) -> bool:
    """Whether a CSV file says where in the log its prices stood."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return set(PLACE) <= set(next(csv.reader(file), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False


def write(rows: Iterable[tuple[PriceUpdate, Cause]], file: TextIO) -> int:
    """Writes the prices, every figure as exactly as it came; how many there were."""
    writer = csv.writer(file)
    writer.writerow(COLUMNS)
    count = 0
    for tick, at in rows:
        writer.writerow((*at, tick.timestamp.isoformat(), *(getattr(tick, field) for field in FIGURES)))
        count += 1
    return count


class RecordedFile:
    """A file of them, read as a stream."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: io.IOBase | None = None
        self._size = max(path.stat().st_size, 1)

    @property
    def done(self) -> float:
        file = self._file
        return 0.0 if file is None or file.closed else file.tell() / self._size

    def ticks(self) -> Iterator[PriceUpdate]:
        return (tick for tick, _ in self.log())

    def log(self) -> Iterator[tuple[PriceUpdate, Cause]]:
        """Each price and its place. BacktestError for what cannot be read, with the line it is in."""
        with io.BufferedReader(io.FileIO(self._path), 1 << 18) as file:
            self._file = file
            rows = csv.DictReader(io.TextIOWrapper(file, encoding="utf-8-sig", newline=""))
            try:
                for row in rows:
                    yield _row(row)
            except (ValueError, TypeError, KeyError, msgspec.ValidationError, csv.Error) as error:
                raise BacktestError(f"{self._path}, line {rows.line_num}: {error}") from None


def _row(row: Mapping[str, Any]) -> tuple[PriceUpdate, Cause]:
    given = {field: row[field] for field in ("timestamp", *FIGURES) if row.get(field) not in (None, "")}
    # strict=False: a CSV's numbers are text.
    tick = msgspec.convert(given, PriceUpdate, strict=False)
    if fault := fault_of(tick.code):
        raise ValueError(fault)
    return tick, Cause(row["topic"], int(row["partition"]), int(row["offset"]))
