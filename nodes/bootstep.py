"""A node is a Celery worker with this step in it: its threads start and stop with the worker (SPEC N1).

A *worker* step, not a consumer step: those restart whenever the broker's connection is lost.
"""

from __future__ import annotations

import logging
from typing import Any

from celery import bootsteps

from nodes.node import Node

log = logging.getLogger(__name__)


class NodeStep(bootsteps.StartStopStep):
    """`node` is set on the class by whoever builds the worker (`nodes.worker`), one node a process."""

    requires = ("celery.worker.components:Pool",)
    node: Node | None = None

    def start(self, parent: Any) -> None:
        assert self.node is not None
        self.node.start()
        parent.app.ginkgo_node = self.node  # where the tasks of this worker find it

    def stop(self, parent: Any) -> None:
        if self.node is not None:
            self.node.stop()

    def terminate(self, parent: Any) -> None:
        """A second signal: abrupt. The checkpoint holds what counts; the successor does the rest."""
        log.warning("ExecutionNode %s is stopped abruptly", self.node.node_id if self.node else "?")
