"""The lease of the scheduler's round: one at a time, and a frozen holder blocks nobody for longer than it lasts (S1).

Taken, prolonged and released by conditional UPDATEs. It keeps two rounds from doing the same work twice; it is not what
makes them safe: all that a round does to an owner is a compare-and-set.
"""

from __future__ import annotations

import os
import socket
import time
from datetime import datetime, timedelta
from uuid import uuid4

from django.conf import settings
from django.db.models import F, Q

from scheduler.models import TickLease

ROUND = "round"


class Lease:
    """Held from `acquire` to `release`, or until it expires."""

    def __init__(self, holder: str, requested: int, seconds: float) -> None:
        self.holder = holder
        self._requested = requested
        self._seconds = seconds
        self._prolong_at = time.monotonic() + seconds / 3

    @classmethod
    def acquire(cls, now: datetime) -> Lease | None:
        """The lease, or None while somebody else holds it."""
        TickLease.objects.get_or_create(name=ROUND)
        seconds = settings.GINKGO.scheduler.lease
        holder = f"{socket.gethostname()[:40]}:{os.getpid()}:{uuid4().hex[:8]}"
        # One that runs for longer than leases do was taken by another clock: its holder may be dead for all we know.
        absurd = now + timedelta(seconds=2 * seconds)
        free = Q(holder="") | Q(expires_at__isnull=True) | Q(expires_at__lt=now) | Q(expires_at__gt=absurd)
        if not TickLease.objects.filter(free, name=ROUND).update(
            holder=holder, expires_at=now + timedelta(seconds=seconds)
        ):
            return None
        requested = TickLease.objects.values_list("requested", flat=True).get(name=ROUND)
        return cls(holder, requested, seconds)

    @staticmethod
    def ask_holder_to_go_round_again() -> None:
        TickLease.objects.filter(name=ROUND).update(requested=F("requested") + 1)

    def still_held(self, now: datetime) -> bool:
        """Prolong it when a third has passed. False: it expired and somebody else has it, or may take it."""
        if time.monotonic() < self._prolong_at:
            return True
        self._prolong_at = time.monotonic() + self._seconds / 3
        expires = now + timedelta(seconds=self._seconds)
        return bool(TickLease.objects.filter(name=ROUND, holder=self.holder).update(expires_at=expires))

    def release(self) -> bool:
        """Give it back. False: a round was asked for meanwhile; the lease is kept for it."""
        mine = TickLease.objects.filter(name=ROUND, holder=self.holder)
        if mine.filter(requested=self._requested).update(holder="", expires_at=None):
            return True
        row = mine.values_list("requested", flat=True).first()
        if row is None:
            return True
        self._requested = row
        return False

    def give_up(self) -> None:
        """Give it back whatever was asked for meanwhile."""
        TickLease.objects.filter(name=ROUND, holder=self.holder).update(holder="", expires_at=None)
