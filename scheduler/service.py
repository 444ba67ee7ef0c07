"""`ginkgo scheduler run`: beat, its worker, and the ear for nodes that come and go, in one process (SPEC S1).

Beat sends the tick and the check through Celery like everywhere. Three more threads make this process quick and sure:
one hears `node.online` and `node.offline` and runs the round at once; one takes the commands of other producers from
Kafka; one runs the check itself when none has run for two intervals, as happens while Celery, which takes its time,
reconnects to a broker that was away.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable
from typing import Any

import redis
from celery.signals import setup_logging
from celery.worker import state as worker_state
from django.conf import settings
from django.db import DatabaseError, close_old_connections
from django_celery_beat.schedulers import DatabaseScheduler

from market import celery_worker, topics
from market.control import ControlConsumer
from market.messages import NodeOffline, NodeOnline, decode_system
from market.poison import UNDECODABLE, PoisonCounter
from portfolios import connections, livestate
from scheduler import beat_seed, cycle, handover, tasks, wires
from scheduler.door import CommandDoor
from scheduler.models import RedisWatch

log = logging.getLogger(__name__)

BEAT_SLEEP = 1.0
"""Seconds beat sleeps at most: an interval edited in the admin counts after that long."""
CONCURRENCY = 3
_RESTART_PAUSE = 1.0
_STOP_TIMEOUT = 5.0
_NO_SUCH_TABLE = 1146


class Unready(Exception):
    """The scheduler cannot run here; the message says what to do."""


class SchedulerService:
    """The threads beside the worker. Made idle; `start` starts them, `stop` ends them within its timeout."""

    def __init__(self, app: Any) -> None:
        self._app = app
        self._stop = threading.Event()
        bodies = {
            "scheduler-beat": self._beat,
            "scheduler-events": self._listen,
            "scheduler-commands": lambda: CommandDoor().run(self._stop),
            "scheduler-watch": self._watch,
        }
        self._threads = [
            threading.Thread(target=self._keep_alive, args=(name, body), name=name, daemon=True)
            for name, body in bodies.items()
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, timeout: float) -> None:
        """Beat first, that nothing new is sent; all within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        try:
            livestate.client(timeout=1.0).hset(livestate.SCHEDULER_STATUS, mapping={"scheduler_status": "stopped"})
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("Redis was not told that the scheduler stops: %s", error)
        wires.close()

    def _keep_alive(self, name: str, body: Callable[[], None]) -> None:
        """A thread of ours ends when it is told to; what it raises is alerted, and it begins again."""
        while not self._stop.is_set():
            try:
                body()
            except Exception as error:  # any fault of one thread must not silence the scheduler
                log.error(
                    "Thread %s failed and begins again: %s", name, error, exc_info=not isinstance(error, DatabaseError)
                )
                message = f"The scheduler's thread {name} failed and began again: {error}"
                wires.alert("component_error", "critical", message, at_most_every=60, subject=name, thread=name)
                self._stop.wait(_RESTART_PAUSE)
            finally:
                close_old_connections()

    def _beat(self) -> None:
        beat = DatabaseScheduler(app=self._app, max_interval=BEAT_SLEEP)
        try:
            while not self._stop.is_set():
                self._stop.wait(beat.tick())
                if beat.should_sync():
                    beat._do_sync()
        finally:
            beat.close()

    def _listen(self) -> None:
        """System events from the end on: what was said before, the round at the start has seen for itself."""
        poison: PoisonCounter | None = None
        for topic, partition, offset, _key, value in ControlConsumer(
            (topics.SYSTEM_EVENTS,), client_id="scheduler.events", stop=self._stop
        ):
            try:
                event = decode_system(value)
            except UNDECODABLE as error:
                poison = poison or PoisonCounter(wires.alerter())
                poison.skip(topic, partition, offset, error)
                continue
            if isinstance(event, NodeOnline | NodeOffline):
                word = "online" if isinstance(event, NodeOnline) else "offline"
                tasks.follow_up(cycle.tick(f"node.{word} {event.node_id}"))
                close_old_connections()

    def _watch(self) -> None:
        """Run the first round at once, and then any check that Celery owes us."""
        tasks.follow_up(cycle.tick("scheduler start"))
        interval = settings.GINKGO.scheduler.heartbeat_check_interval
        while not self._stop.wait(min(1.0, interval / 4)):
            if time.monotonic() - cycle.last_round() <= 2 * interval:
                continue
            interval = _intervals()[1] or interval
            if time.monotonic() - cycle.last_round() > 2 * interval:
                tasks.follow_up(cycle.check())
            close_old_connections()


def run(app: Any, hostname: str = "") -> int:
    """The whole scheduler in this process until SIGTERM or SIGINT; the exit code. Raises Unready."""
    asked_to_stop = threading.Event()

    def on_signal(*_: object) -> None:
        # For Celery, should it be starting just now: it looks at this before its first message.
        worker_state.should_stop = 0
        # Not here: the main thread may be inside this Event's lock just now.
        threading.Thread(target=asked_to_stop.set, name="stop_on_signal").start()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    if not wait_for_servers(asked_to_stop):
        return 0
    connections.register_as(handover.PROCESS, f"{socket.gethostname()[:40]}:{os.getpid()}")
    beat_seed.seed()
    app.conf.broker_url = settings.GINKGO_RESOLVE().redis
    setup_logging.connect(_leave_logging_alone)
    for name in ("celery.beat", "django_celery_beat.schedulers"):
        logging.getLogger(name).addFilter(celery_worker.OneLine())
    service = SchedulerService(app)
    service.start()
    log.info("Scheduler started: places portfolios every %gs, checks heartbeats every %gs", *_intervals())
    try:
        code = celery_worker.run("the scheduler", lambda: _worker(app, hostname or f"scheduler@{socket.gethostname()}"))
    finally:
        cycle.halt.set()
        service.stop(_STOP_TIMEOUT)
        connections.leave()
    log.info("Scheduler stopped")
    return code


def wait_for_servers(stop: threading.Event) -> bool:
    """Until database and Redis answer, one line for each that does not. False if stopped. Raises Unready."""
    return _wait_for("The database", _database_fault, stop) and _wait_for("Redis", _redis_fault, stop)


def _wait_for(name: str, fault_of: Callable[[], str], stop: threading.Event) -> bool:
    said = False
    while not stop.is_set():
        fault = fault_of()
        if not fault:
            return True
        if not said:
            log.warning("%s does not answer, waiting for it: %s", name, fault)
            said = True
        stop.wait(0.5)
    return False


def _database_fault() -> str:
    try:
        RedisWatch.objects.exists()
    except DatabaseError as error:
        if "no such table" in str(error) or (error.args and error.args[0] == _NO_SUCH_TABLE):
            raise Unready("the database has no tables yet: run 'ginkgo data init'") from None
        close_old_connections()
        return str(error).splitlines()[0]
    return ""


def _redis_fault() -> str:
    try:
        livestate.client(timeout=1.0).ping()
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        return str(error).splitlines()[0]
    return ""


def _worker(app: Any, hostname: str) -> Any:
    with warnings.catch_warnings():
        # In a container the scheduler is root, and takes nothing but JSON.
        warnings.filterwarnings("ignore", message=".*superuser privileges.*")
        return app.Worker(
            hostname=hostname,
            pool="threads",
            concurrency=CONCURRENCY,
            queues=[wires.SCHEDULER_QUEUE],
            without_gossip=True,
            without_mingle=True,
            task_events=True,
            prefetch_multiplier=1,
            quiet=True,
        )


def _leave_logging_alone(**_: object) -> None:
    """Django has set it up; a receiver keeps Celery from doing it again."""


def _intervals() -> tuple[float, float]:
    return beat_seed.interval_of(beat_seed.TICK_NAME), beat_seed.interval_of(beat_seed.CHECK_NAME)
