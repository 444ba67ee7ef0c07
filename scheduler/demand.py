"""What the planner is given: portfolios that shall run, with what they weigh, and nodes that offer room (SPEC S2).

A portfolio weighs one for being there at all, and as much again for every EVENTS_A_PORTFOLIO events a second that it
hears, every CPU_A_PORTFOLIO percent of a core that it takes and every QUEUE_A_PORTFOLIO events that wait for it, as its
node has measured them. So small loads are told apart by count, and a heavy one counts for many. What is measured is the
portfolio's own: it goes where the portfolio goes, so that no move is undone by what it moved.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Class: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""What a node must take to host a portfolio: its market and its further labels. Portfolios of one class are alike."""

EVENTS_A_PORTFOLIO = 1000.0
CPU_A_PORTFOLIO = 20.0
QUEUE_A_PORTFOLIO = 1000.0


@dataclass(frozen=True)
class PortfolioDemand:
    """A portfolio that shall run. `rate` in events a second, `cpu` in percent of a core, `queue` in events."""

    id: str
    market: str
    rate: float = 0.0
    requires: tuple[tuple[str, str], ...] = ()
    cpu: float = 0.0
    queue: float = 0.0

    @property
    def kind(self) -> Class:
        return (self.market, tuple(sorted(self.requires)))

    @property
    def weight(self) -> float:
        """In portfolios that hear nothing: at least one."""
        return 1.0 + self.rate / EVENTS_A_PORTFOLIO + self.cpu / CPU_A_PORTFOLIO + self.queue / QUEUE_A_PORTFOLIO


@dataclass(frozen=True)
class Load:
    """As the node measured it as a whole: mean queue in events, CPU in percent, events per second."""

    queue: float = 0.0
    cpu: float = 0.0
    events: float = 0.0

    @property
    def pressure(self) -> float:
        """What decides between nodes that carry the same: whatever else they do."""
        return round(self.queue / QUEUE_A_PORTFOLIO + self.cpu / 100.0, 9)


@dataclass(frozen=True)
class NodeOffer:
    """A node that lives. `healthy` off: loses what it has; `accepting` off: keeps it and gets nothing more."""

    node_id: str
    max_portfolios: int
    labels: Mapping[str, Collection[str]] = field(default_factory=dict)
    enabled: bool = True
    healthy: bool = True
    accepting: bool = True
    load: Load = Load()

    def takes(self, kind: Class) -> bool:
        """Without a label `market` it takes every market; a further label must be among its own."""
        market, requires = kind
        markets = self.labels.get("market")
        return (markets is None or market in markets) and all(
            value in self.labels.get(key, ()) for key, value in requires
        )


def describe(kind: Class) -> str:
    """Like "market cn and region shanghai"."""
    market, requires = kind
    return " and ".join([f"market {market}", *(f"{key} {value}" for key, value in requires)])
