"""A thread of the engine: named, stopped by an Event, and never dead without saying so."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from django.db import close_old_connections

log = logging.getLogger(__name__)


class EngineThread(threading.Thread):
    """Runs `work(stop)`, which returns soon after `stop` is set. `died`: it ended, and nobody had asked it to."""

    def __init__(self, name: str, work: Callable[[threading.Event], None]) -> None:
        super().__init__(name=name, daemon=True)
        self.stopping = threading.Event()
        self._work = work

    def run(self) -> None:
        try:
            self._work(self.stopping)
        except Exception:
            # The service finds the thread dead and ends the process; here is why.
            log.exception("Thread %s died", self.name)
        finally:
            close_old_connections()

    @property
    def died(self) -> bool:
        return self.ident is not None and not self.is_alive() and not self.stopping.is_set()
