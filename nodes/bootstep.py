"""A node is a Celery worker with this step in it: its threads start and stop with the worker (SPEC N1).

A *worker* step, not a consumer step: those restart whenever the broker's connection is lost. Should the worker itself
fail, the node goes on without, and is found by the next one.
"""

from __future__ import annotations

import logging
import os
import signal
from types import FrameType
from typing import Any

from celery import bootsteps
from celery.platforms import EX_FAILURE
from celery.worker import state

from market import celery_worker, memory
from nodes.node import Node

log = logging.getLogger(__name__)


class NodeStep(bootsteps.StartStopStep):
    """`node` is set on the class by whoever builds the worker (`nodes.worker`), one node a process."""

    requires = ("celery.worker.components:Pool",)
    node: Node | None = None

    def start(self, parent: Any) -> None:
        assert self.node is not None
        # Celery ends with 1 upon Ctrl-C; a node that stopped in order, as it was asked to, has ended well.
        signal.signal(signal.SIGINT, signal.getsignal(signal.SIGTERM))
        if not self.node.started:
            memory.settle()
            try:
                self.node.start()
            except BaseException:
                state.should_stop = EX_FAILURE  # half a node is none: no other worker is to be built around it
                raise
        parent.app.ginkgo_node = self.node  # where the tasks of this worker find it

    def stop(self, parent: Any) -> None:
        if self.node is not None and not celery_worker.failed(parent):
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
