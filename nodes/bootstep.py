"""A node is a Celery worker with this step in it: its threads start and stop with the worker (SPEC N1).

A *worker* step, not a consumer step: those restart whenever the broker's connection is lost.
"""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType
from typing import Any

from celery import bootsteps

from nodes import garbage
from nodes.node import Node

log = logging.getLogger(__name__)


class NodeStep(bootsteps.StartStopStep):
    """`node` is set on the class by whoever builds the worker (`nodes.worker`), one node a process."""

    requires = ("celery.worker.components:Pool",)
    node: Node | None = None

    def start(self, parent: Any) -> None:
        assert self.node is not None
        garbage.settle()
        # Celery ends with 1 upon Ctrl-C; a node that stopped in order, as it was asked to, has ended well.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        self.node.start()
        parent.app.ginkgo_node = self.node  # where the tasks of this worker find it

    def stop(self, parent: Any) -> None:
        if self.node is not None:
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, self._abruptly)
            self.node.stop()

    def terminate(self, parent: Any) -> None:
        """SIGQUIT, Celery's cold shutdown."""
        self._abruptly(signal.SIGQUIT, None)

    def _abruptly(self, _number: int, _frame: FrameType | None) -> None:
        """A second signal: the checkpoint holds what counts; the successor does the rest."""
        log.warning("ExecutionNode %s is stopped abruptly", self.node.node_id if self.node else "?")
        os._exit(1)
