"""The scheduler's threads beside its Celery worker, and `ginkgo scheduler run`, which has beat in it too (SPEC S1).

Beat sends the tick and the check through Celery like everywhere. Three more threads make the worker quick and sure: one
hears `node.online` and `node.offline` and runs the round at once; one takes the commands of other producers from Kafka;
one runs the check itself when none has run for two intervals, as happens while Celery, which takes its time, reconnects
to a broker that was away. `scheduler.bootstep` starts them in every worker that consumes the scheduler's queue.
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
from scheduler.bootstep import SchedulerStep
from scheduler.door import CommandDoor
from scheduler.models import RedisWatch

log = logging.getLogger(__name__)

BEAT_SLEEP = 1.0
"""Seconds beat sleeps at most: an interval edited in the admin counts after that long."""
SEED_AGAIN = 60.0
"""Seconds after which it is tried again to seed beat's rows, if that failed."""
_RESTART_PAUSE = 1.0
_LOOK_EVERY = 0.5
_STOP_TIMEOUT = 5.0
_NO_SUCH_TABLE = 1146


class Unready(Exception):
    """The scheduler cannot run here; the message says what to do."""


class SchedulerService:
    """The threads beside the worker. Made idle; `start` starts them, `stop` ends them within its timeout."""

    def __init__(self, app: Any, beat: bool) -> None:
        """`beat`: whether it is in this process too; else `celery beat` runs somewhere."""
        self._app = app
        self._stop = threading.Event()
        self._started = False
        self._seeded = False
        self._seed_at = 0.0
        bodies: dict[str, Callable[[], None]] = {
            "scheduler-events": self._listen,
            "scheduler-commands": lambda: CommandDoor().run(self._stop),
            "scheduler-watch": self._watch,
        }
        if beat:
            bodies["scheduler-beat"] = self._beat
        self._threads = [
            threading.Thread(target=self._keep_alive, args=(name, body), name=name, daemon=True)
            for name, body in bodies.items()
        ]

    @property
    def started(self) -> bool:
        return self._started

    def start(self) -> None:
        """Once: a worker that takes the place of a failed one finds it running."""
        if self._started:
            return
        # Whoever finds rows locked by a scheduler that froze can kill its connections.
        connections.register_as(handover.PROCESS, f"{socket.gethostname()[:40]}:{os.getpid()}")
        self.seed(time.monotonic())
        for thread in self._threads:
            thread.start()
        self._started = True
        log.info("Scheduler started")

    def seed(self, now: float) -> None:
        """See that beat has its rows, unless it has or that has just failed; `now` is on the monotonic clock."""
        if not self._seeded and now >= self._seed_at:
            self._seed_at = now + SEED_AGAIN
            self._seeded = beat_seed.seed_or_say()

    def stop(self, timeout: float) -> None:
        """No thread begins anything new, a round under way leaves the rest; all within `timeout` seconds."""
        deadline = time.monotonic() + timeout
        cycle.halt.set()
        self._stop.set()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, deadline - time.monotonic()))
        try:
            livestate.client(timeout=1.0).hset(livestate.SCHEDULER_STATUS, mapping={"scheduler_status": "stopped"})
        except (redis.RedisError, livestate.RedisUnavailable) as error:
            log.warning("Redis was not told that the scheduler stops: %s", error)
        wires.close()
        connections.leave()
        log.info("Scheduler stopped")

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
        """Run the first round at once, and then any check that Celery owes us; seed what could not be at the start."""
        tasks.follow_up(cycle.tick("scheduler start"))
        interval = settings.GINKGO.scheduler.heartbeat_check_interval
        while not self._stop.wait(min(1.0, interval / 4)):
            self.seed(time.monotonic())
            if time.monotonic() - cycle.last_round() <= 2 * interval:
                continue
            interval = beat_seed.interval_of(beat_seed.CHECK_NAME) or interval
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
    if not wait_for_servers(asked_to_stop.wait):
        return 0
    app.conf.broker_url = settings.GINKGO_RESOLVE().redis
    setup_logging.connect(_leave_logging_alone)
    for name in ("celery.beat", "django_celery_beat.schedulers"):
        logging.getLogger(name).addFilter(celery_worker.OneLine())
    service = SchedulerStep.service = SchedulerService(app, beat=True)
    try:
        return celery_worker.run(
            "the scheduler",
            lambda: _worker(app, hostname or f"scheduler@{socket.gethostname()}"),
            lambda: service.started,
        )
    finally:
        service.stop(_STOP_TIMEOUT)


def wait_for_servers(asked_to_stop: Callable[[float], bool]) -> bool:
    """Until database and Redis answer, one line for each that does not. False if stopped. Raises Unready.

    `asked_to_stop` waits so many seconds at most and says whether it was.
    """
    return _wait_for("The database", _database_fault, asked_to_stop) and _wait_for("Redis", _redis_fault, asked_to_stop)


def _wait_for(name: str, fault_of: Callable[[], str], asked_to_stop: Callable[[float], bool]) -> bool:
    said = False
    while fault := fault_of():
        if not said:
            log.warning("%s does not answer, waiting for it: %s", name, fault)
            said = True
        if asked_to_stop(_LOOK_EVERY):
            return False
    return True


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
            queues=[wires.SCHEDULER_QUEUE],
            without_gossip=True,
            without_mingle=True,
            task_events=True,
            quiet=True,
        )


def _leave_logging_alone(**_: object) -> None:
    """Django has set it up; a receiver keeps Celery from doing it again."""
