"""The results of a sweep, a line each, kept as soon as they are there.

The first line says what was run; each further one is a combination and what came of it, on disk before the next is
asked for. What a process that was killed in the middle of a line has left is cut off when the file is opened again.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any, BinaryIO

from portfolios.backtest.errors import BacktestError
from portfolios.backtest.grid import Point
from portfolios.backtest.run import Setup
from portfolios.kernel.registry import find

_FORM = 1


class SweepFile:
    """Open it with `with`; `results` by the combinations' names. One process at a time."""

    def __init__(self, file: Path, key: str, *, fresh: bool = False) -> None:
        self._path = file
        self._key = key
        self._fresh = fresh
        self._file: BinaryIO | None = None
        self.results: dict[str, dict[str, Any]] = {}

    def __enter__(self) -> SweepFile:
        """BacktestError if it cannot be written, or holds the results of something else."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._file = self._path.open("w+b" if self._fresh else "a+b")
            try:
                self._read(self._file)
            except BaseException:
                self._file.close()
                raise
        except OSError as error:
            raise BacktestError(f"{self._path}: {error.strerror or error}") from None
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, name: str, values: Mapping[str, Any], document: Mapping[str, Any]) -> None:
        """Keeps a result; it is on disk when this returns."""
        self._write({"name": name, "values": values, "result": document})
        self.results[name] = dict(document)

    def _write(self, row: Mapping[str, Any]) -> None:
        assert self._file is not None
        try:
            self._file.write(json.dumps(row, ensure_ascii=False).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise BacktestError(f"{self._path}: {error.strerror or error}") from None

    def _read(self, file: BinaryIO) -> None:
        file.seek(0)
        whole = 0
        for number, line in enumerate(file):
            if not line.endswith(b"\n"):
                break
            try:
                row = json.loads(line)
                if number:
                    self.results[row["name"]] = row["result"]
                elif row["sweep"] != _FORM or row["key"] != self._key:
                    raise BacktestError(
                        f"{self._path} holds another sweep (of another configuration, prices, dates or cash): "
                        "give another file by --results, or begin it anew by --fresh"
                    )
            except (ValueError, LookupError, TypeError):
                raise BacktestError(f"{self._path}, line {number + 1}: is no result of a sweep") from None
            whole += len(line)
        file.seek(whole)
        file.truncate()
        if not whole:
            self._write({"sweep": _FORM, "key": self._key})


def name_of(point: Point) -> str:
    """A combination's name: its values, whatever their order, and the source of its components."""
    sources = {f"{kind}:{name}": _source(name, kind) for kind, name in _components(point.config)}
    return _digest([point.values, sources])[:20]


def key_of(setup: Setup) -> str:
    """What all results depend on: the configuration beside the grid, cash, dates and rates, the prices (a file by its
    size and time), and the release."""
    return _digest(
        {
            "config": setup.config,
            "cash": str(setup.initial_cash),
            "dates": [str(setup.start), str(setup.end)],
            "rates": [setup.commission_rate, setup.slippage_rate],
            "market": setup.market,
            "data": _data(setup.data),
            "release": [version("ginkgo-live"), version("marina-rules")],
        }
    )


def _components(config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "strategy", config["strategy"]["name"]
    yield "sizer", config["sizer"]["name"]
    for risk in config.get("risk_managements", []):
        yield "risk", risk["name"]


@cache
def _source(name: str, kind: str) -> str:
    try:
        return _digest(inspect.getsource(inspect.getmodule(find(name, kind)) or find(name, kind)))
    except (OSError, TypeError):
        return ""  # a component without a source file: its name has to do


def _data(data: str) -> Any:
    path = Path(data)
    if not path.is_file():
        return data
    found = path.stat()
    return [str(path.resolve()), found.st_size, found.st_mtime_ns]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True, default=str).encode()).hexdigest()
