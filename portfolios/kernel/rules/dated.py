"""Figures that change by date: rows of (since, figure), and which is in force on a day."""

from __future__ import annotations

from bisect import bisect_right
from datetime import date
from typing import Generic, TypeVar

T = TypeVar("T")


class Dated(Generic[T]):
    """`rows` in the order of their dates; the first also holds on every day before it. ValueError for others."""

    def __init__(self, *rows: tuple[date, T]) -> None:
        self.rows = rows
        self._since = [since for since, _ in rows]
        if not rows or self._since != sorted(set(self._since)):
            raise ValueError("a dated table needs rows, in the order of their dates")

    def at(self, day: date) -> T:
        return self.rows[max(bisect_right(self._since, day) - 1, 0)][1]
