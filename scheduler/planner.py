"""Which node hosts which portfolio: a pure function of demands, offers and what is (SPEC S2).

What is well placed stays. Portfolios of offline or unhealthy nodes are placed again at once, however many; new ones
after them; planned moves (drain, labels, capacity, then balance) only as far as `max_moves` goes. Every choice takes
the least loaded suitable node: fewest portfolios, then least pressure (event weight, queue, CPU), then by name, so that
the same input gives the same plan whatever its order.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

Kind = Literal["place", "failover", "move"]
Class: TypeAlias = tuple[str, tuple[tuple[str, str], ...]]
"""What a node must take to host a portfolio: its market and its further labels. Portfolios of one class are alike."""

QUEUE_SCALE = 1000.0
CPU_SCALE = 100.0


@dataclass(frozen=True)
class PortfolioDemand:
    """A portfolio that shall run. `weight`: its share of events, in any unit (here: its codes)."""

    id: str
    market: str
    weight: float = 1.0
    requires: tuple[tuple[str, str], ...] = ()

    @property
    def kind(self) -> Class:
        return (self.market, tuple(sorted(self.requires)))


@dataclass(frozen=True)
class Load:
    """As the node measured it: mean queue in events, CPU in percent, events per second."""

    queue: float = 0.0
    cpu: float = 0.0
    events: float = 0.0


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
) -> Plan:
    """The plan for `portfolios` on `nodes`, given who has what (`current`: portfolio → node, empty or absent: nobody).

    `threshold`: balance only when one node has more than this many portfolios more than another that could take some.
    `moving`: portfolio → target of moves already under way; they count at both ends and are left alone.
    """
    return _Planner(portfolios, nodes, current, max_moves, threshold, moving or {}).run()


class _Seat:
    """A node while the plan is made. `occupied` only grows: a place being vacated is not free before it is vacated."""

    __slots__ = ("count", "kinds", "occupied", "offer", "residents", "weight")

    def __init__(self, offer: NodeOffer) -> None:
        self.offer = offer
        self.occupied = 0
        self.count = 0
        self.weight = 0.0
        self.kinds: list[Class] = []
        self.residents: dict[Class, list[PortfolioDemand]] = {}


class _Planner:
    def __init__(
        self,
        portfolios: Iterable[PortfolioDemand],
        nodes: Iterable[NodeOffer],
        current: Mapping[str, str],
        max_moves: int,
        threshold: int,
        moving: Mapping[str, str],
    ) -> None:
        self.demands = sorted(portfolios, key=lambda d: (-d.weight, d.id))
        self.seats = {o.node_id: _Seat(o) for o in sorted(nodes, key=lambda o: o.node_id)}
        self.current = current
        self.budget = max_moves
        self.threshold = threshold
        self.moving = moving
        self.placements: dict[str, str] = {}
        self.moves: list[Move] = []
        self.unplaced: dict[str, str] = {}
        self.heaps: dict[Class, list[tuple[int, float, str]]] = {}
        self.refusals: dict[Class, str] = {}
        self.begun = False
        total = sum(d.weight for d in self.demands)
        self.fair_share = max(total / max(1, len(self.seats)), 1e-9)

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
            self.heaps[kind] = [self._key(seat) for seat in self.seats.values() if kind in seat.kinds]
            heapq.heapify(self.heaps[kind])

    def _key(self, seat: _Seat) -> tuple[int, float, str]:
        load = seat.offer.load
        pressure = seat.weight / self.fair_share + load.queue / QUEUE_SCALE + load.cpu / CPU_SCALE
        return (seat.count, round(pressure, 9), seat.offer.node_id)

    def _least_loaded(self, kind: Class) -> _Seat | None:
        """The best seat with room. Entries that no longer describe their node are dropped: a newer one is queued."""
        heap = self.heaps[kind]
        while heap:
            seat = self.seats[heap[0][2]]
            if seat.occupied < seat.offer.max_portfolios and heap[0] == self._key(seat):
                return seat
            heapq.heappop(heap)
        return None

    def _requeue(self, seat: _Seat) -> None:
        for kind in seat.kinds:
            heapq.heappush(self.heaps[kind], self._key(seat))

    def _sit(self, seat: _Seat, demand: PortfolioDemand) -> None:
        seat.occupied += 1
        seat.count += 1
        seat.weight += demand.weight
        self.placements[demand.id] = seat.offer.node_id

    def _change_seat(self, source: _Seat, target: _Seat, demand: PortfolioDemand) -> None:
        source.count -= 1
        source.weight -= demand.weight
        self._sit(target, demand)

    def _place_at_once(self, demand: PortfolioDemand, kind: Kind, reason: str) -> None:
        target = self._least_loaded(demand.kind)
        if target is None:
            self.unplaced[demand.id] = f"{reason}; {self._why_not(demand.kind)}"
            return
        source = self.seats.get(self.current.get(demand.id, ""))
        if source is None:
            self._sit(target, demand)
        else:
            self._change_seat(source, target, demand)
        self._requeue(target)
        self._note(demand, target, kind, f"{reason}; {target.offer.node_id} has the fewest portfolios")

    def _move_away(self, demand: PortfolioDemand, reason: str) -> None:
        target = self._least_loaded(demand.kind)
        if target is None:
            self.unplaced[demand.id] = f"{reason}; {self._why_not(demand.kind)}"
        elif self.budget > 0:
            self._plan_move(self.seats[self.current[demand.id]], target, demand, reason)

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
        donors = [_descending(self._key(s)) for s in self.seats.values() if s.residents]
        heapq.heapify(donors)
        while donors and self.budget > 0:
            _, _, node_id = heapq.heappop(donors)
            source = self.seats[node_id]
            kind, target = self._widest_gap(source)
            if target is None or source.count - target.count <= (1 if self.begun else max(1, self.threshold)):
                continue
            self.begun = True
            demand = _best_to_move(source.residents[kind], source.weight - target.weight)
            source.residents[kind].remove(demand)
            if not source.residents[kind]:
                del source.residents[kind]
            reason = f"balance: {node_id} has {source.count} portfolios, {target.offer.node_id} {target.count}"
            self._plan_move(source, target, demand, reason)
            if source.residents:
                heapq.heappush(donors, _descending(self._key(source)))

    def _widest_gap(self, source: _Seat) -> tuple[Class, _Seat | None]:
        best: tuple[Class, _Seat | None] = (("", ()), None)
        for kind in sorted(source.residents):
            target = self._least_loaded(kind)
            if target is not None and (best[1] is None or target.count < best[1].count):
                best = (kind, target)
        return best

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


def _best_to_move(residents: list[PortfolioDemand], difference: float) -> PortfolioDemand:
    """The one whose going brings the two nodes' weights closest together."""
    return min(residents, key=lambda d: (abs(difference - 2 * d.weight), d.id))


def _descending(key: tuple[int, float, str]) -> tuple[int, float, str]:
    return (-key[0], -key[1], key[2])


def describe(kind: Class) -> str:
    """Like "market cn and region shanghai"."""
    market, requires = kind
    return " and ".join([f"market {market}", *(f"{key} {value}" for key, value in requires)])
