"""A supervisor's ear: signals only count; the main loop waits here and acts."""

from __future__ import annotations

import os
import select
import signal
from types import FrameType, TracebackType
from typing import Self

_HEARD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Signals:
    """While entered: the first SIGINT, SIGTERM or SIGHUP asks for the orderly stop, a second one for the abrupt one.

    `tied_to`: a descriptor whose end (its writer is gone) counts as a first signal. For the main thread only. A handler
    that set an Event could deadlock with the Event's own lock; a counter and a pipe cannot.
    """

    def __init__(self, tied_to: int | None = None) -> None:
        self._count = 0
        self._tied_to = tied_to
        self._previous: dict[int, object] = {}

    @property
    def stop(self) -> bool:
        return self._count >= 1

    @property
    def abrupt(self) -> bool:
        return self._count >= 2

    def __enter__(self) -> Self:
        self._read, self._write = os.pipe()
        os.set_blocking(self._read, False)
        os.set_blocking(self._write, False)
        self._previous_wakeup = signal.set_wakeup_fd(self._write, warn_on_full_buffer=False)
        for number in _HEARD:
            if signal.getsignal(number) is not signal.SIG_IGN:  # `nohup` stays in force
                self._previous[number] = signal.signal(number, self._hear)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        signal.set_wakeup_fd(self._previous_wakeup)
        os.close(self._read)
        os.close(self._write)

    def wait(self, seconds: float) -> None:
        """Wait that long, or until a signal comes."""
        watched = [self._read] if self._tied_to is None else [self._read, self._tied_to]
        readable, _, _ = select.select(watched, [], [], max(0.0, seconds))
        if self._read in readable:
            os.read(self._read, 64)
        if self._tied_to in readable and not os.read(self._tied_to, 64):  # type: ignore[arg-type]
            self._tied_to = None
            self._count = max(1, self._count)

    def _hear(self, number: int, frame: FrameType | None) -> None:
        self._count += 1
