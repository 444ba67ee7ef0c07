"""One stack per home: a lock file held by the supervisor and its warden, free again when both are gone."""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from threading import Event
from typing import Any

from ginkgo_site.stack import record
from ginkgo_site.stack.errors import AlreadyRunning, StackError

FILE = "stack.lock"
_POLL = 0.1
_CLEANING = 12.0
"""The warden of a killed supervisor is done within six seconds."""


class HomeLock:
    """Held until `release()`. `descriptor` may be inherited by the warden, which then holds it too."""

    def __init__(self, home: Path) -> None:
        try:
            home.mkdir(parents=True, exist_ok=True)
            self.descriptor = os.open(home / FILE, os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(f"GINKGO_HOME {home} cannot be written: {error.strerror}") from None
        try:
            _acquire(self.descriptor, home)
        except StackError:
            os.close(self.descriptor)
            raise

    def release(self) -> None:
        os.close(self.descriptor)


def is_held(home: Path) -> bool:
    """Whether a supervisor, or the warden of one that was killed, is at work in this home."""
    try:
        descriptor = os.open(home / FILE, os.O_RDONLY)
    except OSError:
        return False
    try:
        return not _try(descriptor, fcntl.LOCK_SH)
    finally:
        os.close(descriptor)


def _acquire(descriptor: int, home: Path) -> None:
    deadline = time.monotonic() + _CLEANING
    pause = Event()
    patience = time.monotonic() + 1.0  # a moment for one who only asks whether it is held
    while not _try(descriptor, fcntl.LOCK_EX):
        data = record.read(home)
        if record.is_alive(data) and time.monotonic() > patience:
            raise AlreadyRunning(_taken(home, data))
        if time.monotonic() > deadline:
            raise AlreadyRunning(
                f"another stack is starting or stopping in {home}: wait a moment, or set another GINKGO_HOME"
            )
        pause.wait(_POLL)


def _try(descriptor: int, kind: int) -> bool:
    try:
        fcntl.flock(descriptor, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def refuse_second(home: Path) -> None:
    """An early, friendly look before anything is prepared; the lock itself decides. Raises AlreadyRunning."""
    data = record.read(home)
    if record.is_alive(data):
        raise AlreadyRunning(_taken(home, data))


def _taken(home: Path, data: dict[str, Any]) -> str:
    remedy = "stop it with `ginkgo down`, or set another GINKGO_HOME"
    return f"a stack already runs in {home} (process {data['supervisor']}): {remedy}"
