"""Every change of a portfolio's owner: one compare-and-set that adds one to the epoch (SPEC section 0, idea 2).

The assignment and the checkpoint row change in one transaction, so that the old owner's next checkpoint, which is
conditional on its epoch, fails before it can send anything.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F

from portfolios.models import Assignment, Checkpoint

NOBODY = ""


@dataclass(frozen=True)
class Ownership:
    """Who owns a portfolio as of epoch `epoch`; `node_id` empty: nobody."""

    portfolio_id: str
    node_id: str
    epoch: int


def owned_by(node_id: str) -> list[Ownership]:
    """What MySQL says this node owns: the guarantee behind every command."""
    rows = Assignment.objects.filter(node_id=node_id).values_list("portfolio_id", "node_id", "epoch")
    return [Ownership(*row) for row in rows]


def hand_over(
    read: Ownership, target: str, reason: str, last_checkpoint: Callable[[], bool] | None = None
) -> Ownership | None:
    """Give `read.portfolio_id` to `target` (NOBODY: to nobody) if it is still as read; None if it is not.

    `last_checkpoint`, run inside the transaction before the epoch moves, is the source's last word (SPEC S4); when it
    returns False nothing changes. Raises django.db.Error when the database is away.
    """
    with transaction.atomic():
        if last_checkpoint is not None and not last_checkpoint():
            return None
        changed = Assignment.objects.filter(
            portfolio_id=read.portfolio_id, node_id=read.node_id, epoch=read.epoch
        ).update(node_id=target, epoch=F("epoch") + 1, reason=reason[:300])
        if changed != 1:
            transaction.set_rollback(True)
            return None
        # Unconditional on the checkpoint's own epoch: the assignment, just won, is what decides.
        Checkpoint.objects.filter(portfolio_id=read.portfolio_id).update(epoch=read.epoch + 1)
    return Ownership(read.portfolio_id, target, read.epoch + 1)
