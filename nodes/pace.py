"""How much of its queue a portfolio applies before it looks up: to stop, to save, to be seen."""

from __future__ import annotations


class Pace:
    """How many events are applied in one go: as many as take some ten milliseconds, be they quick or slow."""

    def __init__(self) -> None:
        self.size = 1

    def learn(self, count: int, seconds: float) -> None:
        """The last go was of `count` events and took so long."""
        if seconds > 0.02:
            self.size = max(1, min(self.size, count) // 2)
        elif seconds < 0.005 and count >= self.size:
            self.size = min(2048, self.size * 2)
