"""Deposits and corrections of a portfolio that runs here, booked by its own thread between two events (SPEC P11).

The entry, the request's `applied` and the state that contains it are one checkpoint: a crash before it leaves the
request pending for the successor, one after it leaves nothing to do. What this life has booked it remembers, for until
that checkpoint is committed the request still reads as pending.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from nodes.runtime import Runtime
from portfolios import adjustments, books
from portfolios.errors import Refused
from portfolios.models import Adjustment

if TYPE_CHECKING:
    from nodes.processor import Processor

log = logging.getLogger(__name__)


def take(processor: Processor, run: Runtime) -> bool:
    """Book what is pending and hand the checkpoint over; False if there was nothing. Raises django.db.Error."""
    waiting = [asked for asked in adjustments.pending(run.portfolio_id) if asked.pk not in run.adjusted]
    for asked in waiting:
        run.adjusted.add(asked.pk)
        _book(processor, run, asked)
    if run.ledger:
        processor.save()
    return bool(waiting)


def _book(processor: Processor, run: Runtime, asked: Adjustment) -> None:
    try:
        entry = books.book(run.portfolio, asked)
    except Refused as refusal:
        log.warning("Portfolio %s: %s refused: %s", run.portfolio_id, asked.kind, refusal)
        adjustments.refuse(asked, str(refusal), processor.epoch)
        return
    except Exception as error:
        # The thread ends loudly and is started again from the checkpoint, without what broke it.
        adjustments.refuse(asked, f"failed: {type(error).__name__}: {error}", processor.epoch)
        raise
    run.ledger.append(entry)
    run.dirty = True
    log.info("Portfolio %s: %s of %s booked", run.portfolio_id, asked.kind, asked.code or asked.amount)
