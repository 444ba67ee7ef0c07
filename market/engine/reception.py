"""What becomes of orders that come straight from nodes, not by Kafka (`market.direct`).

The same desk takes them in as what comes by Kafka, under the same lock, in the same transaction: epoch, repetition,
tombstone, checks. So the same order by both ways is one order. Only portfolios whose partition of the log is this
engine's are served, for their open orders are its care; or, while no engine is known to have it, anybody's. That is so
after a start without Kafka, and ten seconds after Kafka has gone, when the group's session ends.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime

from django.db import InterfaceError, OperationalError

from market.direct import ELSEWHERE, FAILED, Answer, Call
from market.engine.desk import Desk
from market.messages import OrderMessage, id_of

log = logging.getLogger(__name__)


class Reception:
    """`mine` says which portfolios are served, `unclaimed` that those of nobody are too. From any thread."""

    def __init__(self, desk: Desk, mine: Callable[[str], bool], unclaimed: Callable[[], bool]) -> None:
        self._desk = desk
        self._mine = mine
        self._unclaimed = unclaimed
        self.taken = 0

    def take(self, call: Call) -> Answer:
        """What the call comes to; it is all in the books, or it has a fault and none of it is (or so it seems)."""
        anyone = call.anyone and self._unclaimed()
        try:
            taken = self._desk.receive(call.messages, datetime.now(UTC), lambda pid: anyone or self._mine(pid))
        except (OperationalError, InterfaceError) as error:
            return Answer(fault=f"the database does not answer: {error}")
        except Exception as error:
            # As with the log: one order that cannot be taken in must not keep others from it.
            if len(call.messages) > 1:
                return self._one_by_one(call)
            log.exception("Order %s cannot be taken in", call.messages[0].order_id)
            return Answer(fault=f"it cannot be taken in: {type(error).__name__}")
        self.taken += len(taken)
        outcomes: dict[str, str] = {id_of(each.message): str(each.outcome) for each in taken}
        if taken:
            log.info("%d orders and cancels came straight from a node", len(taken))
        return Answer([outcomes.get(id_of(each), ELSEWHERE) for each in call.messages])

    def _one_by_one(self, call: Call) -> Answer:
        def outcome(message: OrderMessage) -> str:
            answer = self.take(Call([message], call.anyone))
            return answer.outcomes[0] if answer.outcomes else FAILED

        return Answer([outcome(message) for message in call.messages])
