"""Builds and runs the Celery worker that is a node."""

from __future__ import annotations

import socket
from typing import Any

from market import celery_worker
from nodes.bootstep import NodeStep
from nodes.node import Node


def run(app: Any, node: Node, log_level: str) -> int:
    """Run until SIGTERM or SIGINT; the exit code."""
    step = type("NodeStep", (NodeStep,), {"node": node})
    app.steps["worker"].add(step)

    def build() -> Any:
        return app.Worker(
            hostname=f"{node.node_id}@{socket.gethostname()}",
            pool="threads",
            concurrency=4,
            queues=[f"node.{node.node_id}"],
            loglevel=log_level,
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=False,
            task_events=True,
            prefetch_multiplier=1,
            quiet=True,
        )

    return celery_worker.run(node.node_id, build, lambda: node.started)
