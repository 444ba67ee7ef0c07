"""Sends orders and cancels, once the checkpoint that contains them is committed (SPEC section 0, idea 1).

Only the checkpointer calls `send`, after the commit, and a portfolio's start for what an earlier checkpoint holds. A
delivery that fails is told to the portfolio, which sends it again by the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from market import topics
from market.messages import OrderCancel, OrderMessage, OrderSubmission, encode
from nodes.lease import Lease
from portfolios.kernel.orders import Intent, Order

log = logging.getLogger(__name__)


def message_of(intent: Intent, epoch: int) -> OrderMessage:
    """An intent as it goes out: the same message each time, but for the epoch of today's owner."""
    if isinstance(intent, Order):
        return OrderSubmission(
            timestamp=intent.timestamp,
            order_id=intent.order_id,
            portfolio_id=intent.portfolio_id,
            epoch=epoch,
            code=intent.code,
            direction=intent.direction,  # type: ignore[arg-type]
            order_type=intent.order_type,
            volume=intent.volume,
            price=intent.price,
            cause=intent.cause,
        )
    return OrderCancel(
        timestamp=intent.timestamp,
        cancel_id=intent.cancel_id,
        order_id=intent.order_id,
        portfolio_id=intent.portfolio_id,
        epoch=epoch,
        cause=intent.cause,
    )


class Sender:
    """Thread-safe, never blocks: what cannot be queued now counts as a failed delivery."""

    def __init__(self, producer: Producer, lease: Lease) -> None:
        self._producer = producer
        self._lease = lease
        self.sent = 0
        self.failed = 0

    @property
    def term(self) -> int:
        """The lease's term, to be read *before* ownership is ascertained and given to `send`."""
        return self._lease.term

    def send(self, intents: Iterable[Intent], epoch: int, on_failure: Callable[[Intent], None], term: int) -> bool:
        """Hand them to Kafka in order. False, and no more is sent, if the node's lease is, or once was, over since
        `term`: its ownership may have ended meanwhile.
        """
        for intent in intents:
            if not (self._lease.valid and self._lease.term == term):
                log.warning(
                    "Lease is over: order %s of portfolio %s is held back", intent.order_id, intent.portfolio_id
                )
                return False
            self._produce(intent, epoch, on_failure)
        self._producer.poll(0)
        return True

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def close(self, timeout: float) -> int:
        """Wait for what is on its way; how many messages were still undelivered after `timeout` seconds."""
        return int(self._producer.flush(timeout))

    def _produce(self, intent: Intent, epoch: int, on_failure: Callable[[Intent], None]) -> None:
        def delivered(error: Any, _message: Message) -> None:
            if error is None:
                self.sent += 1
            else:
                self.failed += 1
                log.warning("Order %s was not delivered: %s", intent.order_id, error)
                on_failure(intent)

        try:
            self._producer.produce(
                topics.ORDERS_SUBMISSION,
                key=intent.portfolio_id,
                value=encode(message_of(intent, epoch)),
                on_delivery=delivered,
            )
        except (BufferError, KafkaException) as error:
            self.failed += 1
            log.warning("Order %s was not queued: %s", intent.order_id, error)
            on_failure(intent)
