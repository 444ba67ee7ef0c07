"""Raise an alert: one log line, and one message on `ginkgo.alerts` when Kafka takes it.

An alert never holds up what raised it: it is handed to a producer's queue; a full queue or an absent Kafka costs the
message, not the log line. `Throttle` keeps one kind of alert from repeating faster than its interval.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal
from uuid import uuid4

from confluent_kafka import KafkaException, Producer

from market import topics
from market.messages import Alert, encode

log = logging.getLogger(__name__)

_LEVEL = {"info": logging.INFO, "warning": logging.WARNING, "critical": logging.CRITICAL}


class Alerter:
    """Sends the alerts of one source (a node id, the engine, the scheduler …)."""

    def __init__(self, source: str, producer: Producer) -> None:
        self._source = source
        self._producer = producer
        self._throttle = Throttle()

    def raise_alert(
        self,
        alert_type: str,
        severity: Literal["info", "warning", "critical"],
        message: str,
        at_most_every: float = 0.0,
        subject: str = "",
        **details: Any,
    ) -> bool:
        """Raise it unless the same type and `subject` was raised less than `at_most_every` seconds ago."""
        if at_most_every and not self._throttle.allows(f"{alert_type}:{subject}", at_most_every):
            return False
        log.log(_LEVEL[severity], "%s: %s", alert_type, message)
        alert = Alert(
            timestamp=datetime.now(UTC),
            alert_id=str(uuid4()),
            alert_type=alert_type,
            severity=severity,
            source=self._source,
            message=message,
            details=details,
        )
        try:
            self._producer.produce(topics.ALERTS, key=self._source, value=encode(alert))
            self._producer.poll(0)
        except (BufferError, KafkaException) as error:
            log.warning("Alert %s was not published: %s", alert_type, error)
        return True


class Throttle:
    """At most one of a kind in its interval, on the monotonic clock."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, float] = {}

    def allows(self, kind: str, interval: float) -> bool:
        now = self._clock()
        if now - self._last.get(kind, float("-inf")) < interval:
            return False
        self._last[kind] = now
        return True
