"""What becomes of a node that has lost a thread: it ends, so that whoever supervises it starts it whole again.

Until then it is unhealthy, and the scheduler moves its portfolios where there is room. Ending abruptly is safe: the
checkpoints hold what counts, and whoever comes next does the rest.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable

from nodes.thread import NodeThread

log = logging.getLogger(__name__)

EXIT_CODE = 70
"""EX_SOFTWARE of sysexits.h."""


class Mortality:
    """Called with the thread that died. `after` seconds later the process ends, unless it is `stopping` by then."""

    def __init__(
        self, node_id: str, after: float, stopping: threading.Event, end: Callable[[int], None] = os._exit
    ) -> None:
        self._node_id = node_id
        self._after = after
        self._stopping = stopping
        self._end = end
        self._once = threading.Lock()

    def __call__(self, thread: NodeThread) -> None:
        if self._once.acquire(blocking=False):  # never released: a process ends once
            threading.Thread(
                target=self._wait, args=(thread.name,), name=f"mortality_{self._node_id}", daemon=True
            ).start()

    def _wait(self, name: str) -> None:
        if self._stopping.wait(self._after):
            return
        log.critical("ExecutionNode %s ends, for its thread %s is dead; it is to be started anew", self._node_id, name)
        logging.shutdown()
        self._end(EXIT_CODE)
