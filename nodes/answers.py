"""Answers while Kafka does not bring them: read from the engine's outbox table, as a gap in their numbers is."""

from __future__ import annotations

import logging
import time

from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from market.messages import Feedback, decode_feedback
from market.models import OutboxMessage
from nodes.holding import PATIENCE, is_early
from nodes.runtime import Runtime
from nodes.subscription import Item
from portfolios.kernel.events import Cause

log = logging.getLogger(__name__)

OUTBOX_TOPIC = "ginkgo.outbox"
"""Where feedback that was read from the engine's outbox table stands, as a cause."""
_EVERY = 0.5
_MOST = 500


class Answers:
    """Of one portfolio; used by its own thread. Kafka's copies come later, and are known by their numbers."""

    def __init__(self) -> None:
        self._next = 0.0
        self._early = (0, 0.0)

    def take(self, run: Runtime, now: float) -> list[Item]:
        """What has been told and not heard, in its order; now and then, and nothing while the database is away.

        One whose price is yet to come waits a moment for it, and with it what follows (SPEC P8).
        """
        if now < self._next:
            return []
        self._next = now + _EVERY
        try:
            rows = OutboxMessage.objects.filter(portfolio_id=run.portfolio_id, pseq__gt=run.portfolio.pseq)
            messages = list(rows.order_by("pseq").values_list("message", flat=True)[:_MOST])
        except DatabaseError as error:
            log.warning("Portfolio %s: its answers cannot be read: %s", run.portfolio_id, error)
            connection.close()
            return []
        finally:
            close_old_connections()
        items: list[Item] = []
        for message in messages:
            feedback: Feedback = decode_feedback(message.encode())
            item = Item(feedback, Cause(OUTBOX_TOPIC, 0, feedback.pseq))
            if is_early(item, run) and self._waits(feedback.pseq):
                break
            items.append(item)
        if items:
            log.info("Portfolio %s: %d answers come from the database", run.portfolio_id, len(items))
        return items

    def _waits(self, pseq: int) -> bool:
        now = time.monotonic()
        if self._early[0] != pseq:
            self._early = (pseq, now)
        return now - self._early[1] < PATIENCE
