"""This process's connections outwards: alerts, schedule updates, Celery messages. None of them can fail its caller.

Everything sent here is a hint or a notice; when a server is away it costs the message and one log line, for
reconciliation and the next tick end in the same place. Made on first use, once a process: librdkafka does not survive
a fork.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any, Literal

import msgspec
import redis
from celery import current_app
from confluent_kafka import Producer
from django.conf import settings
from kombu import Connection
from kombu.exceptions import OperationalError
from kombu.pools import producers

from market.alerting import Alerter
from market.bus import KafkaUnavailable, make_producer
from market.control import ControlPublisher

log = logging.getLogger(__name__)

SOURCE = "scheduler"
SCHEDULER_QUEUE = "scheduler"
BROKER_TIMEOUT = 3.0
"""Seconds a connection to Celery's broker may take, so that a caller never hangs on a broker that is away."""
BROKER_PAUSE = 1.0
"""Seconds for which a broker that has just failed is not asked again: a round may have hundreds of commands."""

_lock = threading.Lock()
_broker_away: dict[str, tuple[float, str]] = {}
_publishers: dict[int, ControlPublisher] = {}
_alerters: dict[tuple[int, str], Alerter] = {}
_producers: dict[int, Producer] = {}


def publish(topic: str, key: str, message: msgspec.Struct) -> bool:
    """Publish on the control plane; False (and a log line) if Kafka did not take it."""
    with _lock:
        publisher = _publishers.setdefault(os.getpid(), ControlPublisher(SOURCE))
    try:
        publisher.publish(topic, key, message)
    except KafkaUnavailable as error:
        log.warning("%s", error)
        return False
    return True


def alerter() -> Alerter:
    """The scheduler's alerter in this process. Raises KafkaUnavailable when no address of a Kafka is known."""
    with _lock:
        address = settings.GINKGO_RESOLVE().kafka or ""
        key = (os.getpid(), address)
        if key not in _alerters:
            _producers[os.getpid()] = producer = make_producer(SOURCE)
            _alerters[key] = Alerter(SOURCE, producer)
        return _alerters[key]


def alert(
    alert_type: str,
    severity: Literal["info", "warning", "critical"],
    message: str,
    at_most_every: float = 0.0,
    subject: str = "",
    **details: Any,
) -> None:
    """Raise an alert of the scheduler's. Without a Kafka it is a log line."""
    try:
        sender = alerter()
    except KafkaUnavailable as error:
        log.warning("%s: %s (not published: %s)", alert_type, message, error)
        return
    sender.raise_alert(alert_type, severity, message, at_most_every, subject, **details)


def send_task(name: str, queue: str, expires: float, **kwargs: Any) -> str:
    """Put a Celery task on `queue`; the empty string, or why the broker did not take it."""
    url = settings.GINKGO_RESOLVE().redis
    if url is None:
        return "no Redis is configured and the embedded stack is not running"
    until, fault = _broker_away.get(url, (0.0, ""))
    if time.monotonic() < until:
        return fault
    options = {"socket_connect_timeout": BROKER_TIMEOUT, "socket_timeout": BROKER_TIMEOUT, "max_retries": 0}
    connection = Connection(url, transport_options=options, connect_timeout=BROKER_TIMEOUT)
    try:
        with producers[connection].acquire(block=True, timeout=BROKER_TIMEOUT) as producer:
            current_app.send_task(
                name, kwargs=kwargs, queue=queue, expires=expires, producer=producer, retry=False, ignore_result=True
            )
    except (OperationalError, redis.RedisError, OSError) as error:
        fault = str(error).splitlines()[0] if str(error) else type(error).__name__
        _broker_away[url] = (time.monotonic() + BROKER_PAUSE, fault)
        return fault
    return ""


def close() -> None:
    """Give up this process's connections; alerts still queued get a moment to leave."""
    with _lock:
        publisher = _publishers.pop(os.getpid(), None)
        _alerters.clear()
        producer = _producers.pop(os.getpid(), None)
    if publisher is not None:
        publisher.close()
    if producer is not None:
        producer.flush(1.0)
