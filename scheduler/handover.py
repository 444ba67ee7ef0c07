"""The scheduler's hand-over: the one compare-and-set, with what to do when a row is locked by a process that hangs."""

from __future__ import annotations

import logging

from django.db import OperationalError, connection

from portfolios.ownership import Ownership, hand_over

log = logging.getLogger(__name__)

_LOCK_WAIT = 1
_LOCKED = {1205, 1213}
"""MySQL: lock wait timeout, deadlock. One row's trouble, not the database's."""


def give(owner: Ownership, target: str, reason: str) -> Ownership | None:
    """Hand over at once; None if somebody else was quicker or holds the row's lock."""
    try:
        given = hand_over(owner, target, reason)
    except OperationalError as error:
        if not _is_lock(error):
            raise
        log.warning("Portfolio %s is locked by somebody, left to the next tick: %s", owner.portfolio_id, error)
        return None
    if given is None:
        log.info("Portfolio %s has another owner by now: left as it is", owner.portfolio_id)
    return given


def wait_briefly_for_locks() -> None:
    """A process frozen in a transaction holds one portfolio's rows; the others must not wait for it (SPEC N6)."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [_LOCK_WAIT])


def _is_lock(error: OperationalError) -> bool:
    return bool(error.args) and (error.args[0] in _LOCKED or "locked" in str(error.args[0]))
