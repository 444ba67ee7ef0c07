"""kafka-python's clients, made so that one that does not find its broker leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from kafka.net.compat import KafkaNetClient

T = TypeVar("T")


def connected(kind: Callable[..., T], **config: Any) -> T:
    """A `KafkaConsumer`, `KafkaProducer` or `KafkaAdminClient` that has found a broker. Raises kafka.errors.KafkaError.

    Their constructors start a thread for the connections and then look for a broker. When that fails they raise, and
    the thread goes on trying for ever: over a minute without Kafka a process would have dozens of them, which take the
    processor that Kafka needs to come back (kafka-python 3.0.12).
    """
    begun: list[KafkaNetClient] = []

    def connections(**given: Any) -> KafkaNetClient:
        begun.append(KafkaNetClient(**given))
        return begun[-1]

    try:
        return kind(kafka_client=connections, **config)
    except BaseException:
        for each in begun:
            each.close()
        raise
