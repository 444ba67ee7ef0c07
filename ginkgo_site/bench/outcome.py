"""What a benchmark found: one figure of ours, what it must reach, and its peers' in the same run."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """`ours` and `peers` in `unit`; `bound` says on which side of `must` ours has to be.

    `peers` holds None for one that could not be run, and `notes` why. `also` are further conditions, each met or not.
    `details` are figures that explain; `load` is the machine's load average (1 min) at the end.
    """

    name: str
    ours: float
    unit: str
    must: float
    bound: Literal["at least", "at most"]
    peers: dict[str, float | None] = {}
    also: dict[str, bool] = {}
    details: dict[str, float] = {}
    notes: list[str] = []
    load: float = 0.0

    @property
    def met(self) -> bool:
        reached = self.ours >= self.must if self.bound == "at least" else self.ours <= self.must
        return reached and all(self.also.values())

    def document(self) -> dict[str, Any]:
        """As `ginkgo bench --json` prints it: a peer that could not be run is left out."""
        return {
            "name": self.name,
            "ours": rounded(self.ours),
            "unit": self.unit,
            "must": rounded(self.must),
            "peers": {name: rounded(value) for name, value in self.peers.items() if value is not None},
            "met": self.met,
            "bound": self.bound,
            "also": self.also,
            "details": {name: rounded(value) for name, value in self.details.items()},
            "notes": self.notes,
            "load": self.load,
        }


def rounded(value: float) -> float:
    """Four significant digits: a benchmark knows no more."""
    return float(f"{value:.4g}")
