"""The first download, shown: a bar on a terminal, two plain lines elsewhere; nothing when all is there already."""

from __future__ import annotations

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

_LABEL = "Fetching Apache Kafka (once)"


class Download:
    """Called with bytes done and expected; on stderr, so that stdout stays one document."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._bar: Progress | None = None
        self._task: object = None
        self._begun = False

    def __enter__(self) -> Self:
        return self

    def __call__(self, done: int, total: int) -> None:
        if not self._console.is_terminal:
            if not self._begun:
                sys.stderr.write(f"{_LABEL}: {total / 1e6:.0f} MB …\n")
                sys.stderr.flush()
            self._begun = True
            return
        if self._bar is None:
            columns = (TextColumn("{task.description}"), BarColumn(None), DownloadColumn(), TimeRemainingColumn())
            self._bar = Progress(*columns, console=self._console)
            self._task = self._bar.add_task(_LABEL, total=total)
            self._bar.start()
        self._bar.update(self._task, completed=done, total=total)  # type: ignore[arg-type]

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
