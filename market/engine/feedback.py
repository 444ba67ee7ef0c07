"""Feedback of one transaction: numbered densely per portfolio, written to the outbox with what made it true."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from market.messages import Feedback, encode
from market.models import FeedbackCounter, Order, OutboxMessage
from portfolios.kernel.events import FeedbackType
from portfolios.models import Portfolio


class Answers:
    """Takes each portfolio's next `pseq` under the lock of its counter's row. Use inside a transaction.

    That lock is also the portfolio's lock in the engine: whoever changes its orders or fills takes it first, so that
    fills become visible in the order of their ids.
    """

    def __init__(self, portfolio_ids: Iterable[str]) -> None:
        """Locks the counters of those of `portfolio_ids` that exist, in one order for everybody."""
        wanted = set(portfolio_ids)
        self._counters = {row.portfolio_id: row for row in self._lock(wanted)}
        missing = wanted - set(self._counters)
        if missing:
            new = Portfolio.objects.filter(id__in=missing).order_by("id").values_list("id", flat=True)
            FeedbackCounter.objects.bulk_create(
                [FeedbackCounter(portfolio_id=each) for each in new], ignore_conflicts=True
            )
            self._counters = {row.portfolio_id: row for row in self._lock(wanted)}
        self._rows: list[OutboxMessage] = []

    @staticmethod
    def _lock(portfolio_ids: set[str]) -> list[FeedbackCounter]:
        rows = FeedbackCounter.objects.select_for_update().filter(portfolio_id__in=portfolio_ids)
        return list(rows.order_by("portfolio_id"))

    @property
    def portfolio_ids(self) -> list[str]:
        return list(self._counters)

    def tell(self, order: Order, event_type: FeedbackType, timestamp: datetime, **fields: Any) -> int:
        """Add an answer to `order`, whose state is already what it says; counts the order's `seq` up. Its `pseq`."""
        counter = self._counters[order.portfolio_id]
        counter.pseq += 1
        order.seq += 1
        message = Feedback(
            event_type=event_type,
            timestamp=timestamp,
            order_id=order.order_id,
            portfolio_id=order.portfolio_id,
            seq=order.seq,
            pseq=counter.pseq,
            status=str(order.state),
            **fields,
        )
        self._rows.append(
            OutboxMessage(
                portfolio_id=order.portfolio_id,
                pseq=counter.pseq,
                order_id=order.order_id,
                message=encode(message).decode(),
            )
        )
        return counter.pseq

    def save(self) -> int:
        """Write the answers and the counters; how many answers there were."""
        if not self._rows:
            return 0
        OutboxMessage.objects.bulk_create(self._rows)
        for portfolio_id in {row.portfolio_id for row in self._rows}:
            self._counters[portfolio_id].save(update_fields=["pseq"])
        return len(self._rows)


def tell_again(order_ids: Iterable[str]) -> int:
    """What was told about these orders is published again, word for word; how many messages that is."""
    return OutboxMessage.objects.filter(order_id__in=list(order_ids), published=True).update(published=False)
