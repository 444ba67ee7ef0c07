"""Which node hosts which portfolio: a pure function of demands, offers and what is (SPEC S2).

What is well placed stays. Portfolios of offline or unhealthy nodes are placed again at once, however many; new ones
after them; planned moves (drain, labels, capacity, then balance) only as far as `max_moves` goes. Every choice takes
the least loaded suitable node: the least weight of its portfolios (see scheduler.demand), then the least pressure
(queue, CPU), then by name, so that the same input gives the same plan whatever its order.

Balance does not follow noise: it begins only where the gap between two nodes exceeds the threshold by more than a tenth
of all that was measured on them, and makes no move that would not narrow the gap by half of that.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from scheduler.demand import Class, Load, NodeOffer, PortfolioDemand, describe

__all__ = ["Kind", "Load", "Move", "NodeOffer", "Plan", "PortfolioDemand", "describe", "plan"]

Kind = Literal["place", "failover", "move"]

_NOISE = 0.1
"""So much of a measured load may be gone, or doubled up, the next time it is looked at."""
_GAIN = 0.25
"""Portfolios' weight by which a move must do better than turn the gap round."""


@dataclass(frozen=True)
class Move:
    """`place`: nobody had it. `failover`: its node is offline or unhealthy. `move`: by agreement with the source."""

    portfolio_id: str
    source: str
    target: str
    kind: Kind
    reason: str


@dataclass(frozen=True)
class Plan:
    """`placements` is what shall be, `moves` how to get there, `unplaced` what no node could take, and why.

    A portfolio in `unplaced` stays where it is; it is in `placements` too if that node still lives.
    """

    placements: dict[str, str]
    moves: tuple[Move, ...]
    unplaced: dict[str, str]


def plan(
    portfolios: Iterable[PortfolioDemand],
    nodes: Iterable[NodeOffer],
    current: Mapping[str, str],
    *,
    max_moves: int,
    threshold: int,
    moving: Mapping[str, str] | None = None,
    vacating: Mapping[str, int] | None = None,
) -> Plan:
    """The plan for `portfolios` on `nodes`, given who has what (`current`: portfolio → node, empty or absent: nobody).

    `threshold`: balance begins only where a node carries more than another by more than so many of the portfolio that
    would move.
    `moving`: portfolio → target of moves already under way; they count at both ends and are left alone.
    `vacating`: node → how many of its places are those of portfolios that are to stop, and have not yet.
    """
    return _Planner(portfolios, nodes, current, max_moves, threshold, moving or {}, vacating or {}).run()


class _Seat:
    """A node while the plan is made. `occupied` only grows: a place being vacated is not free before it is vacated."""

    __slots__ = ("count", "cpu", "kinds", "occupied", "offer", "queue", "rate", "residents", "weight")

    def __init__(self, offer: NodeOffer, vacating: int) -> None:
        self.offer = offer
        self.occupied = vacating
        self.count = 0
        self.weight = 0.0
        self.rate = 0.0
        self.cpu = 0.0
        self.queue = 0.0
        self.kinds: list[Class] = []
        self.residents: dict[Class, list[PortfolioDemand]] = {}

    def add(self, demand: PortfolioDemand, sign: int = 1) -> None:
        """Its load comes, or with `sign` -1 goes."""
        self.count += sign
        self.weight += sign * demand.weight
        self.rate += sign * demand.rate
        self.cpu += sign * demand.cpu
        self.queue += sign * demand.queue

    @property
    def key(self) -> tuple[float, float, str]:
        """By which the least loaded is found."""
        return (round(self.weight, 6), self.offer.load.pressure, self.offer.node_id)

    @property
    def noise(self) -> float:
        """How far off its weight may be: what portfolios weigh for being there is certain."""
        return _NOISE * max(0.0, self.weight - self.count)

    def figures(self) -> str:
        """Like "load 5.2 (3 portfolios, 1,200 events/s, CPU 20 %, queue 0)"."""
        portfolios = "1 portfolio" if self.count == 1 else f"{self.count} portfolios"
        return (
            f"load {abs(self.weight):.1f} ({portfolios}, {abs(self.rate):,.0f} events/s, "
            f"CPU {abs(self.cpu):.0f} %, queue {abs(self.queue):.0f})"
        )


class _Planner:
    def __init__(
        self,
        portfolios: Iterable[PortfolioDemand],
        nodes: Iterable[NodeOffer],
        current: Mapping[str, str],
        max_moves: int,
        threshold: int,
        moving: Mapping[str, str],
        vacating: Mapping[str, int],
    ) -> None:
        self.demands = sorted(portfolios, key=lambda d: (-d.weight, d.id))
        self.seats = {o.node_id: _Seat(o, vacating.get(o.node_id, 0)) for o in sorted(nodes, key=lambda o: o.node_id)}
        self.current = current
        self.budget = max_moves
        self.threshold = threshold
        self.moving = moving
        self.placements: dict[str, str] = {}
        self.moves: list[Move] = []
        self.unplaced: dict[str, str] = {}
        self.heaps: dict[Class, list[tuple[float, float, str]]] = {}
        self.refusals: dict[Class, str] = {}
        self.begun = False

    def run(self) -> Plan:
        failover, fresh, leaving = self._keep_what_is_well_placed()
        self._open_seats()
        for demand, reason in failover:
            self._place_at_once(demand, "failover", reason)
        for demand, reason in fresh:
            self._place_at_once(demand, "place", reason)
        for demand, reason in leaving:
            self._move_away(demand, reason)
        self._balance()
        return Plan(self.placements, tuple(self.moves), self.unplaced)

    def _keep_what_is_well_placed(self) -> tuple[list[tuple[PortfolioDemand, str]], ...]:
        failover: list[tuple[PortfolioDemand, str]] = []
        fresh: list[tuple[PortfolioDemand, str]] = []
        leaving: list[tuple[PortfolioDemand, str]] = []
        for demand in self.demands:
            node_id = self.current.get(demand.id, "")
            seat = self.seats.get(node_id)
            if not node_id:
                fresh.append((demand, "nobody has it"))
                continue
            if seat is None:
                failover.append((demand, f"node {node_id} is offline"))
                continue
            self._sit(seat, demand)
            target = self.seats.get(self.moving.get(demand.id, ""))
            if target is not None and seat.offer.healthy:
                self._change_seat(seat, target, demand)
            elif not seat.offer.healthy:
                failover.append((demand, f"node {node_id} is unhealthy"))
            elif not seat.offer.enabled:
                leaving.append((demand, f"node {node_id} is drained"))
            elif not seat.offer.takes(demand.kind):
                leaving.append((demand, f"node {node_id} does not take {describe(demand.kind)}"))
            else:
                seat.residents.setdefault(demand.kind, []).append(demand)
        for node_id, seat in self.seats.items():
            leaving += [
                (d, f"node {node_id} is over its capacity of {seat.offer.max_portfolios}") for d in _excess(seat)
            ]
        return failover, fresh, leaving

    def _open_seats(self) -> None:
        kinds = sorted({d.kind for d in self.demands})
        for seat in self.seats.values():
            offer = seat.offer
            if offer.enabled and offer.healthy and offer.accepting:
                seat.kinds = [kind for kind in kinds if offer.takes(kind)]
        for kind in kinds:
            self.heaps[kind] = [seat.key for seat in self.seats.values() if kind in seat.kinds]
            heapq.heapify(self.heaps[kind])

    def _least_loaded(self, kind: Class) -> _Seat | None:
        """The best seat with room. Entries that no longer describe their node are dropped: a newer one is queued."""
        heap = self.heaps[kind]
        while heap:
            seat = self.seats[heap[0][2]]
            if seat.occupied < seat.offer.max_portfolios and heap[0] == seat.key:
                return seat
            heapq.heappop(heap)
        return None

    def _requeue(self, seat: _Seat) -> None:
        for kind in seat.kinds:
            heapq.heappush(self.heaps[kind], seat.key)

    def _sit(self, seat: _Seat, demand: PortfolioDemand) -> None:
        seat.occupied += 1
        seat.add(demand)
        self.placements[demand.id] = seat.offer.node_id

    def _change_seat(self, source: _Seat, target: _Seat, demand: PortfolioDemand) -> None:
        source.add(demand, -1)
        self._sit(target, demand)

    def _place_at_once(self, demand: PortfolioDemand, kind: Kind, reason: str) -> None:
        target = self._least_loaded(demand.kind)
        if target is None:
            self.unplaced[demand.id] = f"{reason}; {self._why_not(demand.kind)}"
            return
        why = f"{reason}; {target.offer.node_id} is the least loaded: {target.figures()}"
        source = self.seats.get(self.current.get(demand.id, ""))
        if source is None:
            self._sit(target, demand)
        else:
            self._change_seat(source, target, demand)
        self._requeue(target)
        self._note(demand, target, kind, why)

    def _move_away(self, demand: PortfolioDemand, reason: str) -> None:
        target = self._least_loaded(demand.kind)
        if target is None:
            self.unplaced[demand.id] = f"{reason}; {self._why_not(demand.kind)}"
        elif self.budget > 0:
            why = f"{reason}; {target.offer.node_id} is the least loaded: {target.figures()}"
            self._plan_move(self.seats[self.current[demand.id]], target, demand, why)

    def _plan_move(self, source: _Seat, target: _Seat, demand: PortfolioDemand, reason: str) -> None:
        self.budget -= 1
        self._change_seat(source, target, demand)
        self._requeue(source)
        self._requeue(target)
        self._note(demand, target, "move", reason)

    def _note(self, demand: PortfolioDemand, target: _Seat, kind: Kind, reason: str) -> None:
        source = self.current.get(demand.id, "")
        self.moves.append(Move(demand.id, source, target.offer.node_id, kind, reason))

    def _balance(self) -> None:
        """From the fullest to the emptiest while that helps; begun only where the gap exceeds the threshold.

        Once begun it goes on to within one. A node that gave something away may now have room for one passed over
        before it, hence another pass; every move narrows a gap, so it ends.
        """
        before = -1
        while self.budget > 0 and len(self.moves) != before:
            before = len(self.moves)
            self._balance_once()

    def _balance_once(self) -> None:
        donors = [_descending(s.key) for s in self.seats.values() if s.residents]
        heapq.heapify(donors)
        while donors and self.budget > 0:
            _, _, node_id = heapq.heappop(donors)
            source = self.seats[node_id]
            found = self._best_exchange(source)
            if found is None:
                continue
            self.begun = True
            demand, target = found
            source.residents[demand.kind].remove(demand)
            if not source.residents[demand.kind]:
                del source.residents[demand.kind]
            what = f"balance: {node_id} carries {source.figures()}, {target.offer.node_id} {target.figures()}"
            self._plan_move(source, target, demand, f"{what}; it weighs {demand.weight:.1f}")
            if source.residents:
                heapq.heappush(donors, _descending(source.key))

    def _best_exchange(self, source: _Seat) -> tuple[PortfolioDemand, _Seat] | None:
        """What `source` had best give to whom, of all that would make the two more equal by more than noise."""
        best: tuple[float, PortfolioDemand, _Seat] | None = None
        for kind in sorted(source.residents):
            target = self._least_loaded(kind)
            if target is None or target is source:
                continue
            gap, noise = source.weight - target.weight, source.noise + target.noise
            # Once it has begun half of the noise is enough: it would rather finish than begin again.
            least, noise = (1, noise / 2) if self.begun else (max(1, self.threshold), noise)
            for demand in source.residents[kind]:
                if gap - least * demand.weight <= _GAIN + noise:
                    continue
                gain = gap - demand.weight
                # By so much the sum of the squares falls: most where it halves the gap.
                worth = round(demand.weight * gain, 9)
                if best is None or worth > best[0] or (worth == best[0] and demand.id < best[1].id):
                    best = (worth, demand, target)
        return None if best is None else (best[1], best[2])

    def _why_not(self, kind: Class) -> str:
        # Said once for a class: where there is no room there will be none in this plan.
        if kind not in self.refusals:
            self.refusals[kind] = self._refusal(kind)
        return self.refusals[kind]

    def _refusal(self, kind: Class) -> str:
        if not self.seats:
            return "no node is online"
        suitable = [s for s in self.seats.values() if kind in s.kinds]
        if not suitable:
            return f"no enabled and healthy node takes {describe(kind)}"
        places = sum(s.offer.max_portfolios for s in suitable)
        taken = sum(s.occupied for s in suitable)
        return f"every node that takes {describe(kind)} is full ({taken} of {places} places taken)"


def _excess(seat: _Seat) -> list[PortfolioDemand]:
    """Take the residents above the node's capacity out, lightest first: the cheapest to move."""
    residents = sorted((d for group in seat.residents.values() for d in group), key=lambda d: (d.weight, d.id))
    surplus = residents[: max(0, min(seat.count - seat.offer.max_portfolios, len(residents)))]
    for demand in surplus:
        seat.residents[demand.kind].remove(demand)
        if not seat.residents[demand.kind]:
            del seat.residents[demand.kind]
    return surplus


def _descending(key: tuple[float, float, str]) -> tuple[float, float, str]:
    return (-key[0], -key[1], key[2])
