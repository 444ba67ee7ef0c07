"""Celery's door to the node: one task for all commands (SPEC N11)."""

from __future__ import annotations

from typing import Any

from celery import shared_task

from market.dispatcher import Order


@shared_task(name="nodes.tasks.execute", ignore_result=True, bind=True)
def execute(
    self: Any,
    command_id: str,
    command_type: str,
    target_id: str,
    epoch: int | None = None,
    params: dict[str, Any] | None = None,
) -> str:
    """Execute one command in this node's process, once; the state it ends in."""
    order = Order(command_id, command_type, target_id, epoch, params or {}, "celery")
    return str(self.app.ginkgo_node.dispatcher.execute(order))
