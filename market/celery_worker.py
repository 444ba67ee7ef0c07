"""Runs a Celery worker, and another after one that Celery's own code has ended: what is beside it goes on.

Celery 5.7 ends when Redis is lost while a message lies unacknowledged in the worker (kombu then asks a connection that
it has closed for its address). To a node or the scheduler Celery is a door and no more: they must not fall with it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from celery.platforms import EX_FAILURE
from celery.worker import state
from kombu.asynchronous import set_event_loop

log = logging.getLogger(__name__)

_PAUSE = 1.0
_SLICE = 0.1
"""Seconds between two looks whether a signal has come: its handler is Celery's, and wakes nobody."""
_NOISY = ("celery.worker", "celery.worker.consumer.consumer", "celery.worker.request")


class OneLine(logging.Filter):
    """Celery tells of a server that is away in several lines, with a traceback and its stack; one says as much."""

    def filter(self, record: logging.LogRecord) -> bool:
        lines = record.getMessage().splitlines()
        record.msg, record.args = (lines[0] if record.exc_info and lines else " ".join(filter(None, lines))), ()
        record.exc_info = None
        return True


_one_line = OneLine()


def run(name: str, build: Callable[[], Any], started: Callable[[], bool]) -> int:
    """Run what `build` builds until it is asked to stop: by a signal, or by Celery's own remote control.

    Returns its exit code. `started`: whether what is beside the worker, and is started by one of its steps, has been; a
    worker that fails before that is the last, for there is nothing that could go on. Steps of the worker ask `failed`
    in their `stop`, to tell one end from the other. What `build` raises at first goes to the caller.
    """
    for noisy in _NOISY:
        logging.getLogger(noisy).addFilter(_one_line)
    worker = build()
    while True:
        try:
            worker.start()
        except Exception as error:  # Celery's own end can fail as well
            log.error("The Celery worker of %s did not end well: %s", name, error, exc_info=True)
            worker.exitcode = EX_FAILURE
        if not failed(worker):
            return worker.exitcode if isinstance(worker.exitcode, int) else 0
        if not started():
            log.error("The Celery worker of %s has failed before %s had started: it ends", name, name)
            return int(EX_FAILURE)
        log.error("The Celery worker of %s has failed; %s goes on, and another takes its place", name, name)
        if asked_within(_PAUSE):
            return 0
        # The next has a timer of its own: with the old loop it would wait for one that nobody turns.
        set_event_loop(None)
        state.reset_state()
        worker = build()


def failed(worker: Any) -> bool:
    """It ends (or has ended) by a fault of Celery's, and nobody has asked for that."""
    return bool(worker.exitcode == EX_FAILURE) and not _asked()


def _asked() -> bool:
    return any(each is not None and each is not False for each in (state.should_stop, state.should_terminate))


def asked_within(seconds: float) -> bool:
    """Wait so long, or until the worker is asked to stop; whether it was."""
    pause = threading.Event()  # never set
    for _ in range(round(seconds / _SLICE)):
        if _asked():
            return True
        pause.wait(_SLICE)
    return _asked()
