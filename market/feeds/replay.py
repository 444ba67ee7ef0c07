"""The replay feed: recorded ticks or bars from a CSV or Parquet file, with their own event time, N times as fast."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

import msgspec

from market.feeds.base import Batch, FeedError, Published, unpublished
from market.topics import market_of
from portfolios.kernel.codes import fault_of
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules.cn import SHANGHAI

_CHUNK = 1000
"""Most ticks in a batch: what may be on its way to the log at once. `position` must find all of it there."""
_FIELDS = tuple(field for field in PriceUpdate.__struct_fields__ if field not in ("v", "timestamp"))


class ReplayFeed:
    """Columns as the fields of price_update: `code`, `timestamp` (RFC 3339 with its zone) and `price` are needed.

    A daily file may give `date` (its close, 15:00 Shanghai) and `close` instead. Rows must be in the order of time.
    """

    source = "replay"

    def __init__(self, file: Path, codes: Sequence[str] = (), as_fast_as_possible: bool = False) -> None:
        """`codes`: only these. Reads the file once to know its codes and that all of it is sound. Raises FeedError."""
        self._file = file
        self._only = frozenset(codes)
        self._hurry = as_fast_as_possible
        found: dict[str, None] = {}
        self.end: datetime | None = None
        for tick in self._ticks():
            found[tick.code] = None
            self.end = tick.timestamp
        if not found:
            raise FeedError(f"{file}: has no ticks{' of these codes' if codes else ''}")
        markets = {market_of(code) for code in found}
        if len(markets) > 1:
            raise FeedError(f"{file}: has codes of several markets ({', '.join(sorted(markets))}): one file a market")
        self.codes = tuple(found)
        self.market = markets.pop()

    def batches(self, published: Published) -> Iterator[Batch]:
        return unpublished(self._batches(), published)

    def _batches(self) -> Iterator[Batch]:
        """A batch for each moment; as fast as possible, as many moments as fit into one."""
        waiting: list[PriceUpdate] = []
        before: datetime | None = None
        for tick in self._ticks():
            same = bool(waiting) and tick.timestamp == waiting[-1].timestamp
            if waiting and ((not same and not self._hurry) or len(waiting) >= _CHUNK):
                yield Batch(self._pause(before, waiting), waiting)
                before = waiting[-1].timestamp
                waiting = []
            waiting.append(tick)
        if waiting:
            yield Batch(self._pause(before, waiting), waiting)

    def _pause(self, before: datetime | None, ticks: list[PriceUpdate]) -> float:
        if self._hurry or before is None:
            return 0.0
        return (ticks[0].timestamp - before).total_seconds()

    def _ticks(self) -> Iterator[PriceUpdate]:
        before: datetime | None = None
        for number, row in enumerate(_rows(self._file), start=2):
            try:
                tick = _tick(row)
            except (KeyError, ValueError, TypeError, msgspec.ValidationError) as error:
                reason = f"column {error} is missing" if isinstance(error, KeyError) else str(error)
                raise FeedError(f"{self._file}, row {number}: {reason}") from None
            if before is not None and tick.timestamp < before:
                raise FeedError(f"{self._file}, row {number}: time runs backwards; sort the file by its timestamp")
            before = tick.timestamp
            if not self._only or tick.code in self._only:
                yield tick


def _tick(row: Mapping[str, Any]) -> PriceUpdate:
    given = {key: value for key, value in row.items() if value not in (None, "")}
    if "timestamp" not in given and "date" in given:
        day = date.fromisoformat(str(given["date"])[:10])
        given["timestamp"] = datetime.combine(day, time(15, 0, tzinfo=SHANGHAI))
    if "price" not in given and "close" in given:
        given["price"] = given["close"]
    moment = given["timestamp"]
    moment = moment if isinstance(moment, datetime) else datetime.fromisoformat(str(moment))
    if moment.tzinfo is None:
        raise ValueError(f"timestamp {moment.isoformat()} has no zone: write it as {moment.isoformat()}+08:00")
    if fault := fault_of(given["code"]):
        raise ValueError(fault)
    fields = {name: given[name] for name in _FIELDS if name in given}
    if "price" not in fields:
        raise KeyError("price")
    # strict=False: a CSV's numbers are text.
    return msgspec.convert({**fields, "timestamp": moment.astimezone(UTC)}, PriceUpdate, strict=False)


def _rows(file: Path) -> Iterable[Mapping[str, Any]]:
    if file.suffix.lower() == ".parquet":
        return _parquet(file)
    return _csv(file)


def _csv(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            yield from csv.DictReader(lines)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise FeedError(f"{file}: {getattr(error, 'strerror', None) or error}") from None


def _parquet(file: Path) -> Iterator[Mapping[str, Any]]:
    try:
        from pyarrow import ArrowException, parquet  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise FeedError("reading Parquet needs pyarrow: install it with 'pip install pyarrow'") from None
    try:
        for batch in parquet.ParquetFile(file).iter_batches():
            yield from batch.to_pylist()
    except (OSError, ArrowException) as error:
        raise FeedError(f"{file}: {error}") from None
