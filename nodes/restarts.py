"""When a portfolio whose thread has died may be started again: later each time, so that a lasting fault is no storm."""

from __future__ import annotations

from dataclasses import dataclass

_FIRST = 1.0
_LONGEST = 30.0
_WELL_AFTER = 60.0
"""Seconds of life after which what it died of before is forgotten."""


@dataclass(frozen=True)
class _Try:
    started: float
    pause: float = 0.0
    not_before: float = float("-inf")


class Restarts:
    """`now` in seconds of one monotonic clock. A pause of 1 s doubles with each death, to 30 s."""

    def __init__(self) -> None:
        self._tries: dict[str, _Try] = {}

    def wait(self, portfolio_id: str, now: float) -> float:
        """Seconds until it may be started; 0 if it may be now."""
        known = self._tries.get(portfolio_id)
        return 0.0 if known is None else max(0.0, known.not_before - now)

    def started(self, portfolio_id: str, now: float) -> None:
        known = self._tries.get(portfolio_id)
        self._tries[portfolio_id] = _Try(now, 0.0 if known is None else known.pause)

    def died(self, portfolio_id: str, now: float) -> float:
        """It has died of an error; the seconds until it may be started again."""
        known = self._tries.get(portfolio_id, _Try(now))
        before = 0.0 if now - known.started >= _WELL_AFTER else known.pause
        pause = min(_LONGEST, 2 * before) if before else _FIRST
        self._tries[portfolio_id] = _Try(known.started, pause, now + pause)
        return pause

    def forget(self, portfolio_id: str) -> None:
        """It has ended well, or somebody asks for it: there is nothing to wait for."""
        self._tries.pop(portfolio_id, None)
