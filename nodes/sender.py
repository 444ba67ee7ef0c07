"""Sends orders and cancels, once the checkpoint that contains them is committed (SPEC section 0, idea 1).

Only the checkpointer calls `send`, after the commit, and a portfolio's start for what an earlier checkpoint holds. A
delivery that fails is told to the portfolio, which sends it again by the same way.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Container, Iterable
from typing import Any

from confluent_kafka import KafkaException, Message, Producer

from market import topics
from market.messages import OrderCancel, OrderMessage, OrderSubmission, encode, id_of
from nodes.direct import Straight
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
    """Thread-safe, never blocks: what cannot be queued now counts as a failed delivery.

    `straight`, where there is one, brings an engine what Kafka does not take.
    """

    def __init__(self, producer: Producer, lease: Lease, straight: Straight | None = None) -> None:
        self._producer = producer
        self._lease = lease
        self._straight = straight
        self.sent = 0
        self.failed = 0

    @property
    def term(self) -> int:
        """The lease's term, to be read *before* ownership is ascertained and given to `send`."""
        return self._lease.term

    @property
    def straight(self) -> int:
        """How many orders and cancels went straight to an engine."""
        return self._straight.sent if self._straight is not None else 0

    @property
    def degraded(self) -> bool:
        """Kafka does not bring answers, or may not have brought all."""
        return self._straight is not None and self._straight.active

    def send(
        self,
        intents: Iterable[Intent],
        epoch: int,
        on_failure: Callable[[Intent], None],
        term: int,
        may_go_straight: Container[str] = (),
    ) -> bool:
        """Hand them to Kafka in order. False, and no more is sent, if the node's lease is, or once was, over since
        `term`: its ownership may have ended meanwhile. Those whose id is in `may_go_straight` go straight to an engine
        if Kafka does not take them.
        """
        for intent in intents:
            if not (self._lease.valid and self._lease.term == term):
                log.warning(
                    "Lease is over: order %s of portfolio %s is held back", intent.order_id, intent.portfolio_id
                )
                return False
            message = message_of(intent, epoch)
            straight = self._straight if id_of(message) in may_go_straight else None
            if straight is not None:
                straight.offer(message, term)
            self._produce(intent, message, on_failure, straight)
        self._producer.poll(0)
        return True

    def poll(self) -> None:
        """Serve delivery reports."""
        self._producer.poll(0)

    def close(self, timeout: float) -> int:
        """Wait for what is on its way; how many messages were still undelivered after `timeout` seconds."""
        return int(self._producer.flush(timeout))

    def _produce(
        self, intent: Intent, message: OrderMessage, on_failure: Callable[[Intent], None], straight: Straight | None
    ) -> None:
        def failed() -> None:
            self.failed += 1
            if straight is not None:
                straight.failed(id_of(message))
            on_failure(intent)

        def delivered(error: Any, _message: Message) -> None:
            if error is None:
                self.sent += 1
                if straight is not None:
                    straight.delivered(id_of(message))
            else:
                log.warning("Order %s was not delivered: %s", intent.order_id, error)
                failed()

        try:
            self._producer.produce(
                topics.ORDERS_SUBMISSION,
                key=intent.portfolio_id,
                value=encode(message),
                on_delivery=delivered,
            )
        except (BufferError, KafkaException) as error:
            log.warning("Order %s was not queued: %s", intent.order_id, error)
            failed()
