"""The thread that compares what MySQL says this node owns with what it runs, and makes the two agree (SPEC idea 3).

Commands and plan updates only wake it; were all of them lost, its own interval would end in the same place.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from django.db import Error as DatabaseError
from django.db import connection
from django.db.models import Exists, OuterRef

from nodes.thread import NodeThread
from portfolios.models import Adjustment, Assignment
from portfolios.models.adjustment import AdjustmentState
from portfolios.models.portfolio import DesiredState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Owned:
    """A row of what this node owns by MySQL."""

    epoch: int
    desired_state: str
    version: int
    adjusting: bool = False
    """A deposit or a correction is waiting to be booked."""


@dataclass(frozen=True)
class Running:
    """A portfolio that this node runs: at which epoch and configuration, and whether its thread has ended."""

    epoch: int
    version: int
    ended: bool


@dataclass(frozen=True)
class Steps:
    """What is to be done: start (id, epoch), discard, stop for the user, reload, book adjustments, and forget those
    that have ended."""

    start: tuple[tuple[str, int], ...] = ()
    discard: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()
    reload: tuple[str, ...] = ()
    forget: tuple[str, ...] = ()
    adjust: tuple[str, ...] = ()


Refused = Mapping[str, tuple[int, int]]
"""Portfolios that could not be made, with the epoch and version at which that was so."""


def compare(
    owned: Mapping[str, Owned], running: Mapping[str, Running], refused: Refused = MappingProxyType({})
) -> Steps:
    """The pure decision: the steps that bring `running` to `owned`.

    What is `refused` is not tried again at the same epoch and version, but to be given back.
    """
    start, discard, stop, reload, forget, adjust = [], [], [], [], [], []
    for portfolio_id, r in running.items():
        o = owned.get(portfolio_id)
        if r.ended:
            forget.append(portfolio_id)
        elif o is None or o.epoch != r.epoch:
            discard.append(portfolio_id)
        elif o.desired_state == DesiredState.STOPPED:
            stop.append(portfolio_id)
        elif r.version and o.version > r.version:
            reload.append(portfolio_id)
        elif o.adjusting:
            adjust.append(portfolio_id)
    for portfolio_id, o in owned.items():
        # One that was stopped before it was ever started here is given back by the same way, without running.
        stopped = o.desired_state == DesiredState.STOPPED
        if portfolio_id not in running and (stopped or refused.get(portfolio_id) != (o.epoch, o.version)):
            start.append((portfolio_id, o.epoch))
    return Steps(tuple(sorted(start)), tuple(discard), tuple(stop), tuple(reload), tuple(forget), tuple(adjust))


class Reconciler(NodeThread):
    """`apply` carries the steps out; it is the node's."""

    def __init__(
        self,
        node_id: str,
        interval: float,
        running: Callable[[], Mapping[str, Running]],
        apply: Callable[[Steps], None],
        refused: Callable[[], Refused] = dict,
    ) -> None:
        super().__init__(f"reconciler_{node_id}")
        self._node_id = node_id
        self._interval = interval
        self._running = running
        self._apply = apply
        self._refused = refused
        self._wake = threading.Event()
        self._due = float("inf")
        self.reachable = True

    def wake(self) -> None:
        """Compare now, not at the next interval."""
        self._wake.set()

    def wake_in(self, seconds: float) -> None:
        """Compare then, if not before. For `apply`, which leaves for later what is to wait."""
        self._due = min(self._due, time.monotonic() + seconds)

    def request_stop(self) -> None:
        super().request_stop()
        self._wake.set()

    def work(self) -> None:
        while not self.stopping.is_set():
            self._due = time.monotonic() + self._interval
            self.step()
            self._wake.wait(max(0.0, self._due - time.monotonic()))
            self._wake.clear()

    def step(self) -> bool:
        """One comparison; False if MySQL did not answer (nothing is changed then)."""
        try:
            steps = compare(owned_by(self._node_id), self._running(), self._refused())
        except DatabaseError as error:
            if self.reachable:
                log.warning("MySQL does not say what %s owns, it goes on with what it runs: %s", self._node_id, error)
            self.reachable = False
            connection.close()
            return False
        self.reachable = True
        if not self.stopping.is_set():
            self._apply(steps)
        return True


def owned_by(node_id: str) -> dict[str, Owned]:
    waiting = Adjustment.objects.filter(portfolio_id=OuterRef("portfolio_id"), state=AdjustmentState.PENDING)
    rows = Assignment.objects.filter(node_id=node_id).values_list(
        "portfolio_id", "epoch", "portfolio__desired_state", "portfolio__version", Exists(waiting)
    )
    return {portfolio_id: Owned(*facts) for portfolio_id, *facts in rows}
