"""When to reconcile: at the engine's start, every `engine.reconcile_interval`, after the broker was away, when asked.

One row a broker (`ReconciliationRun`) says when it was last done. Whoever changes its `started_at` from what was read
makes the next comparison, so of several engines one does; what a dead one left is due again. Its times are by the clock
of the wall, because several machines share them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from django.db import Error as DatabaseError
from django.db import close_old_connections

from market.alerting import Alerter
from market.brokers.port import Broker
from market.models import ReconciliationRun
from market.reconciliation_round import Round, look, settle

log = logging.getLogger(__name__)

_LOOK_EVERY = 0.5
_AGAIN = timedelta(seconds=2)
"""After a comparison that found something new: whether it stands."""
_BROKER_AWAY = 5.0


class ReconciliationWatch:
    """`run` is its thread. `outages` counts how often the broker has been away and come back."""

    def __init__(
        self, broker: Broker, alerter: Alerter, interval: float, outages: Callable[[], int] = lambda: 0
    ) -> None:
        """`interval` in seconds."""
        self._broker = broker
        self._alerter = alerter
        self._interval = timedelta(seconds=interval)
        self._outages = outages
        self._seen_outages = 0
        self._at_once = True
        self._not_before = float("-inf")
        self._failing = False
        self._said_away = ""

    def run(self, stop: threading.Event) -> None:
        while not stop.wait(_LOOK_EVERY):
            self.step(datetime.now(UTC))

    def step(self, now: datetime) -> Round | None:
        """Compare if it is due, and ours to do; what it came to."""
        try:
            made = self._step(now)
            self._failing = False
            return made
        except DatabaseError as error:
            if not self._failing:
                log.warning("Reconciliation waits for the database: %s", error)
            self._failing = True
            close_old_connections()
            return None

    def _step(self, now: datetime) -> Round | None:
        outages = self._outages()
        row = last(self._broker.name)
        if time.monotonic() < self._not_before and not _is_wanted(row):
            return None
        at_once = self._at_once or outages != self._seen_outages
        if not (at_once or is_due(row, self._interval, now)) or not claim(row, now):
            return None
        self._seen_outages, self._at_once = outages, False
        made = look(self._broker.name, self._broker)
        suspected = settle(self._broker.name, made, now, self._alerter)
        finish(row.broker, made, suspected, datetime.now(UTC))
        self._tell(made)
        return made

    def _tell(self, made: Round) -> None:
        if made.away:
            self._not_before = time.monotonic() + _BROKER_AWAY
            if made.away != self._said_away:
                log.warning("The broker's books are not compared, it is away: %s", made.away)
            self._at_once = True
        elif self._said_away:
            log.info("The broker's books are compared again")
        self._said_away = made.away
        log.debug("%d portfolios and %d accounts reconciled", made.count("portfolio"), made.count("account"))


def last(broker: str) -> ReconciliationRun:
    """A broker's row; made when it is not there yet. Raises django.db.Error."""
    row = ReconciliationRun.objects.filter(broker=broker).first()
    return row or ReconciliationRun.objects.get_or_create(broker=broker)[0]


def want(broker: str, now: datetime) -> None:
    """Have an engine compare as soon as it can."""
    last(broker)
    ReconciliationRun.objects.filter(broker=broker).update(wanted_at=now)


def is_due(row: ReconciliationRun, interval: timedelta, now: datetime) -> bool:
    if row.started_at is None or _is_wanted(row):
        return True
    since = now - row.started_at
    confirm = row.suspected > 0 and row.done_at is not None and row.done_at >= row.started_at and since >= _AGAIN
    return confirm or since >= interval or since < timedelta(0)


def claim(row: ReconciliationRun, now: datetime) -> bool:
    """Whether the next comparison is ours."""
    rows = ReconciliationRun.objects.filter(broker=row.broker, started_at=row.started_at)
    if row.started_at is None:
        rows = ReconciliationRun.objects.filter(broker=row.broker, started_at__isnull=True)
    return rows.update(started_at=now) == 1


def finish(broker: str, made: Round, suspected: int, now: datetime) -> None:
    ReconciliationRun.objects.filter(broker=broker).update(
        done_at=now,
        portfolios=made.count("portfolio"),
        accounts=made.count("account"),
        skipped=len(made.skipped),
        suspected=suspected,
    )


def _is_wanted(row: ReconciliationRun) -> bool:
    return row.wanted_at is not None and (row.started_at is None or row.wanted_at > row.started_at)
