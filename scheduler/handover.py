"""The scheduler's hand-over: the one compare-and-set, with what to do when a row is locked by a process that hangs."""

from __future__ import annotations

import logging

from django.db import OperationalError, connection

from portfolios import connections
from portfolios.ownership import NOBODY, Ownership, hand_over

log = logging.getLogger(__name__)

_LOCKED_OUT = Ownership("", NOBODY, -1)
"""In the place of an owner: somebody holds the row for longer than we wait."""

PROCESS = "@scheduler"
"""The name of schedulers among the registered connections; no node can have it."""
_LOCK_WAIT = 1
_WAITED = 1205
_LOCKED = {_WAITED, 1213}
"""MySQL: lock wait timeout, deadlock. One row's trouble, not the database's."""


def give(owner: Ownership, target: str, reason: str) -> Ownership | None:
    """Hand over at once; None if somebody else was quicker or holds the row's lock.

    A lock that lasts longer than `wait_briefly_for_locks` allows is taken from the owner by killing its connections:
    it is to lose the portfolio anyway, and may be frozen in the middle of a transaction.
    """
    try:
        given = _try(owner, target, reason)
        if given is _LOCKED_OUT and _cut_off(owner):
            given = _try(owner, target, reason)
    except OperationalError as error:
        if not _is_lock(error):
            raise
        log.warning("Portfolio %s is locked by somebody, left to the next tick: %s", owner.portfolio_id, error)
        return None
    if given is _LOCKED_OUT:
        log.warning("Portfolio %s is locked by somebody unknown, left to the next tick", owner.portfolio_id)
        return None
    if given is None:
        log.info("Portfolio %s has another owner by now: left as it is", owner.portfolio_id)
    return given


def _try(owner: Ownership, target: str, reason: str) -> Ownership | None:
    try:
        return hand_over(owner, target, reason)
    except OperationalError as error:
        if error.args and error.args[0] == _WAITED:
            return _LOCKED_OUT
        raise


def _cut_off(owner: Ownership) -> bool:
    holders = [owner.node_id] if owner.node_id != NOBODY else []
    # Or another scheduler froze in the middle of just this.
    for holder in (*holders, PROCESS):
        if killed := connections.kill(holder, but=connections.instance()):
            log.warning(
                "Portfolio %s is locked by a transaction that does not end: killed the %d connections of %s",
                owner.portfolio_id, killed, holder,
            )  # fmt: skip
            return True
    return False


def wait_briefly_for_locks() -> None:
    """A process frozen in a transaction holds one portfolio's rows; the others must not wait for it (SPEC N6)."""
    if connection.vendor == "mysql":
        with connection.cursor() as cursor:
            cursor.execute("SET SESSION innodb_lock_wait_timeout = %s", [_LOCK_WAIT])


def _is_lock(error: OperationalError) -> bool:
    return bool(error.args) and (error.args[0] in _LOCKED or "locked" in str(error.args[0]))
