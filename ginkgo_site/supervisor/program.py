"""One program to keep running: what to execute, where its output goes, and when it is stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path


def _nothing() -> None:
    """A program that needs no preparation."""


@dataclass(frozen=True)
class Program:
    """`stage`: programs of a lower stage are stopped, and gone, before those of a higher one are asked to stop.

    `environment` is added to the supervisor's own. `before` runs ahead of every start (a stale file, say). With
    `capture`, standard output (at most a pipe full, 64 KB) is kept for the supervisor and never written to disk.
    """

    name: str
    argv: tuple[str, ...]
    log: Path
    stage: int
    cwd: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    before: Callable[[], None] = _nothing
    capture: bool = False
