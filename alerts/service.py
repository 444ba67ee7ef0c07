"""`ginkgo alerts run`: the two readers of the log and the delivery, each a thread; one that dies ends the process."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import close_old_connections

from alerts.delivery import Delivery
from alerts.emergency import Emergency
from alerts.notify import Notifier, wanted
from alerts.store import AlertStore
from alerts.stream import AlertReader, Recorder
from market.alerting import Alerter
from market.bus import KafkaUnavailable, make_producer
from market.poison import PoisonCounter

log = logging.getLogger(__name__)

_LOOK_EVERY = 1.0
_STOP_WITHIN = 15.0


class AlertsError(Exception):
    """A part of the service has died; the process ends, so that its supervisor starts it whole again."""


def run_alerts(stop: threading.Event) -> None:
    """Store and notify until `stop` is set. Kafka, MongoDB and the database may come and go. Raises AlertsError."""
    store = AlertStore()
    delivery = Delivery(stop)
    recorder = AlertReader(Recorder(store), stop, _Poison())
    emergency = Emergency(stop, wanted)
    notifier = AlertReader(Notifier(delivery.wake, unnoted=emergency.tell), stop)
    threads = [
        _Thread("alerts_recorder", recorder.run),
        _Thread("alerts_notifier", notifier.run),
        _Thread("alerts_delivery", delivery.run),
        _Thread("alerts_emergency", emergency.run),
    ]
    for thread in threads:
        thread.start()
    log.info("Alerts are stored and told")
    try:
        while not stop.wait(_LOOK_EVERY):
            if dead := [thread for thread in threads if not thread.is_alive()]:
                raise AlertsError(f"thread {dead[0].name} has died: {dead[0].error}")
    finally:
        stop.set()
        delivery.wake()
        # The readers first: what they still note is claimed and sent by whoever comes next.
        for thread in threads:
            thread.join(_STOP_WITHIN)
        store.close()
        log.info("Alerts: %d stored, %d weighed", recorder.read, notifier.read)


class _Thread(threading.Thread):
    def __init__(self, name: str, work: Callable[[], None]) -> None:
        super().__init__(name=name, daemon=True)
        self._work = work
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            self._work()
        except BaseException as error:
            self.error = error
            log.critical("Thread %s died: %s", self.name, error, exc_info=error)
        finally:
            close_old_connections()


class _Poison:
    """Counts and alerts by way of a producer that is made when first needed."""

    def __init__(self) -> None:
        self._counter: PoisonCounter | None = None

    def skip(self, topic: str, partition: int, offset: int, error: Exception) -> None:
        if self._counter is None:
            try:
                self._counter = PoisonCounter(Alerter("alerts", make_producer("alerts")))
            except KafkaUnavailable:
                log.error("Skipped a message that cannot be decoded at %s:%s:%s: %s", topic, partition, offset, error)
                return
        self._counter.skip(topic, partition, offset, error)
