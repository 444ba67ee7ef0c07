"""What a seed draws before its schedule begins: how large, how slow, and how much goes wrong.

A swarm by design: each seed has its own mix of sizes and faults, so that rare combinations are not drowned by an
average of everything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

FOREVER = 10.0**9


@dataclass(frozen=True)
class Plan:
    """What a seed draws before it begins. Shares are of occasions."""

    portfolios: int
    engines: int
    ticks: int
    queue: int
    density: float
    ttl: float
    checkpoint_interval: float
    pyramiding: bool
    pace: float
    crashes: int
    freezes: int
    handovers: int
    moves: int
    stops: int
    reloads: int
    node_stops: int
    database: int
    log: float
    broker: float
    quiet: float
    cuts: int
    deposits: int
    tantrums: float
    outages: int
    straight: str
    detour: bool
    """From the start nodes do not reach Kafka with their orders."""


def draw(chance: Callable[[], float]) -> Plan:
    def often(share: float, most: int) -> int:
        return 1 + int(chance() * most) if chance() < share else 0

    def of(*choices: Any) -> Any:
        return choices[int(chance() * len(choices))]

    return Plan(
        portfolios=of(1, 1, 2),
        engines=of(1, 1, 1, 2),
        ticks=of(4, 6, 9),
        queue=of(2, 4, 1000),
        density=of(0.15, 0.4, 1.0),
        ttl=of(30.0, FOREVER, FOREVER),
        checkpoint_interval=of(0.0, 5.0),
        pyramiding=chance() < 0.6,
        pace=of(0.12, 0.25, 0.5),
        crashes=often(0.6, 3),
        freezes=often(0.3, 2),
        handovers=often(0.5, 3),
        moves=often(0.4, 2),
        stops=often(0.12, 2),
        reloads=often(0.2, 2),
        node_stops=often(0.15, 1),
        database=often(0.25, 2),
        log=of(0.0, 0.0, 0.0, 0.3),
        broker=of(0.0, 0.0, 0.2),
        quiet=of(0.0, 0.5),
        cuts=often(0.2, 2),
        deposits=often(0.25, 2),
        tantrums=of(0.0, 0.0, 0.1),
        outages=often(0.3, 3),
        straight=of("exits", "all", "all", "off"),
        detour=chance() < 0.2,
    )
