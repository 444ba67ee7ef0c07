"""The standard library's `threading` and `time`, as far as the product uses them, on the hub's threads and clock."""

from __future__ import annotations

import threading
from collections.abc import Callable
from types import TracebackType

from tests.protocol.hub import Task, hub


class Event:
    __slots__ = ("_queue", "_set")

    def __init__(self) -> None:
        self._set = False
        self._queue: list[Task] = []

    def is_set(self) -> bool:
        return self._set

    def set(self) -> None:
        self._set = True
        if self._queue:
            hub().wake(self._queue)

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if not self._set:
            hub().wait(self._queue, timeout)
        return self._set


class Lock:
    """Also stands in for a reentrant one where nobody re-enters."""

    __slots__ = ("_held", "_queue")

    def __init__(self) -> None:
        self._held = False
        self._queue: list[Task] = []

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        while self._held:
            if not blocking:
                return False
            hub().wait(self._queue, None)
        self._held = True
        return True

    def release(self) -> None:
        self._held = False
        if self._queue:
            hub().wake(self._queue)

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class Condition:
    def __init__(self) -> None:
        self._lock = Lock()
        self._queue: list[Task] = []

    def __enter__(self) -> bool:
        return self._lock.acquire()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._lock.release()

    def wait(self, timeout: float | None = None) -> bool:
        self._lock.release()
        woken = hub().wait(self._queue, timeout)
        self._lock.acquire()
        return woken

    def notify_all(self) -> None:
        hub().wake(self._queue)


class Threading:
    """In the place of the module `threading` in the modules under simulation."""

    Event = Event
    Lock = Lock
    RLock = Lock
    Condition = Condition
    Thread = threading.Thread


class Time:
    """In the place of the module `time`."""

    @staticmethod
    def monotonic() -> float:
        return hub().now

    time = monotonic


def start(thread: threading.Thread) -> None:
    """`NodeThread.start`: its `work` becomes a thread of the process that starts it."""
    current = hub().current
    assert current is not None
    thread.task = hub().spawn(current.process, thread.name.split("_")[0], thread.work)  # type: ignore[attr-defined]


def is_alive(thread: threading.Thread) -> bool:
    task: Task | None = getattr(thread, "task", None)
    return task is not None and not task.done


def join(thread: threading.Thread, timeout: float | None = None) -> None:
    task: Task | None = getattr(thread, "task", None)
    if task is not None and not task.done:
        hub().wait(task.joiners, timeout)


def ident(thread: threading.Thread) -> int | None:
    return None if getattr(thread, "task", None) is None else 1


Work = Callable[[], object]
