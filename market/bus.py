"""The data plane: confluent-kafka producers and consumers as every process of ours uses them.

All producers partition by murmur2 of the key (`partition_of`), so that ours, Java's and kafka-python's agree;
consumers commit by hand and never reset an offset by themselves. librdkafka does not survive a fork: make these in the
process that uses them.
"""

from __future__ import annotations

import logging
import time
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer
from django.conf import settings

from portfolios.partitioner import partition_of as partition_of

log = logging.getLogger(__name__)

_SILENT = 0
"""librdkafka's own lines on stderr (syslog's levels) say again what its error callback says."""
_BACK_OFF_MS = 1000
"""Longest pause between two attempts to reach a broker: at the default a broker that is back waits for us for 10 s."""


class KafkaUnavailable(Exception):
    """No address of a Kafka is known, or it does not answer."""


def bootstrap() -> str:
    """The brokers' addresses. Raises KafkaUnavailable when none is known."""
    address: str | None = settings.GINKGO_RESOLVE().kafka
    if address is None:
        raise KafkaUnavailable(
            "no Kafka is configured and the embedded stack is not running: start it with 'ginkgo stack start'"
        )
    return address


def reason_of(error: Exception) -> str:
    """What went wrong, in words: librdkafka's exceptions hold an error, which prints as a record."""
    inner = error.args[0] if error.args else None
    return inner.str() if isinstance(inner, KafkaError) else str(error)


class Trouble:
    """What librdkafka calls with each failed attempt, ten a second while the brokers are away: one line in half a
    minute. It goes on trying by itself; what a message's fate is, its own callback says.
    """

    EVERY = 30.0

    def __init__(self, client_id: str) -> None:
        self._client_id = client_id
        self._said_at = float("-inf")

    def __call__(self, error: KafkaError) -> None:
        now = time.monotonic()
        if error.fatal() or now - self._said_at >= self.EVERY:
            self._said_at = now
            log.warning("Kafka (%s): %s", self._client_id, error.str())


def make_producer(client_id: str, linger_ms: float = 0, **extra: Any) -> Producer:
    """An idempotent producer that waits for all replicas. `linger_ms` 0 for orders, more for a feed."""
    return Producer(
        {
            "bootstrap.servers": bootstrap(),
            "client.id": client_id,
            "acks": "all",
            "enable.idempotence": True,
            "partitioner": "murmur2_random",
            "linger.ms": linger_ms,
            "error_cb": Trouble(client_id),
            "log_level": _SILENT,
            "reconnect.backoff.max.ms": _BACK_OFF_MS,
            **extra,
        }
    )


def make_consumer(client_id: str, group_id: str | None = None, **extra: Any) -> Consumer:
    """A consumer that commits nothing by itself. Without `group_id` it is meant for `assign()`.

    What it has fetched ahead is capped (4 MB, and 2 MB in each answer), so that whoever falls behind does not grow:
    full buffers cost four times that, for each message has a record of its own. More does not make it quicker.
    """
    return Consumer(
        {
            "bootstrap.servers": bootstrap(),
            "client.id": client_id,
            "group.id": group_id or f"unused.{client_id}",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "error",
            "fetch.wait.max.ms": settings.GINKGO.node.fetch_wait_ms,
            "fetch.message.max.bytes": 262_144,  # of one partition
            "fetch.max.bytes": 2_000_000,
            "queued.max.messages.kbytes": 4_096,
            "queued.min.messages": 20_000,
            # How long a full buffer is left alone: at the default of 1 s it runs empty in a burst, and all of it waits.
            "fetch.queue.backoff.ms": 5,
            "error_cb": Trouble(client_id),
            "log_level": _SILENT,
            "reconnect.backoff.max.ms": _BACK_OFF_MS,
            **extra,
        }
    )
