"""The alerts as they are raised: the log's end, and what comes after it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator

from market import topics
from market.bus import bootstrap
from market.control import ControlConsumer
from market.messages import Alert, decode_alert
from market.poison import UNDECODABLE

log = logging.getLogger(__name__)


def tail(stop: threading.Event) -> Iterator[Alert]:
    """Until `stop` is set. Raises KafkaUnavailable where no Kafka is known; waits for one that is away."""
    bootstrap()
    for record in ControlConsumer([topics.ALERTS], "alerts.tail", stop=stop):
        try:
            yield decode_alert(record.value)
        except UNDECODABLE as error:
            log.warning("At %s:%s:%s is no alert: %s", record.topic, record.partition, record.offset, error)
