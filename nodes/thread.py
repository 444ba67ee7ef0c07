"""A node's thread: named, stopped by an Event, and never dead without saying so (SPEC N2)."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import close_old_connections

log = logging.getLogger(__name__)


class NodeThread(threading.Thread):
    """Subclasses write `work()`, which returns soon after `stopping` is set. What it raises is kept in `error`."""

    def __init__(self, name: str) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self.error: BaseException | None = None
        self.on_death: Callable[[NodeThread], None] | None = None

    def work(self) -> None:
        raise NotImplementedError

    def request_stop(self) -> None:
        """Ask it to end; return at once. Safe before start and more than once."""
        self.stopping.set()

    def run(self) -> None:
        try:
            self.work()
        except BaseException as error:
            self.error = error
            log.critical("Thread %s died: %s", self.name, error, exc_info=error)
        try:
            if self.on_death is not None and (self.error is not None or not self.stopping.is_set()):
                self.on_death(self)
        finally:
            close_old_connections()

    @property
    def died(self) -> bool:
        """It has ended though nobody asked it to."""
        return self.ident is not None and not self.is_alive() and not self.stopping.is_set()
