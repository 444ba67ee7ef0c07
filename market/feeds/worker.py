"""A feed's thread: named, stopped by an Event, and never dead without ending the feed."""

from __future__ import annotations

import logging
import threading

log = logging.getLogger(__name__)


class Worker(threading.Thread):
    """Subclasses write `work()`, which returns soon after `stop` is set."""

    def __init__(self, name: str, stop: threading.Event) -> None:
        super().__init__(name=name, daemon=True)
        self.stop = stop
        self._error: BaseException | None = None

    def work(self) -> None:
        raise NotImplementedError

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self._error = error
            log.critical("Thread %s died: %s", self.name, error, exc_info=error)

    def check(self) -> None:
        """Raises RuntimeError if it has died: better a restart than a feed that goes on half."""
        if self._error is not None:
            raise RuntimeError(f"thread {self.name} died: {self._error}")
