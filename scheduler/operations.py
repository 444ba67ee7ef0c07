"""What an operator does: move, balance, drain, enable, shut down. The API, the admin and the commands call these.

Each answers at once with whether it was accepted and why not; what follows is the scheduler's work.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from datetime import UTC, datetime

from django.conf import settings

from portfolios import command_log
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import DesiredState
from portfolios.ownership import NOBODY, Ownership
from scheduler import assignments, commands, handover, moves, planner, registry, requests
from scheduler.models import Node, Requirement
from scheduler.models.node import NodeState

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Answer:
    """`accepted` or `reason` why not; `estimated_time` in seconds at most. Empty strings where they do not apply."""

    accepted: bool
    reason: str = ""
    portfolio_id: str = ""
    source_node: str = ""
    target_node: str = ""
    estimated_time: float = 0.0


def migrate(portfolio_id: str, target: str, source: str = "", issued_by: str = "") -> Answer:
    """Move a running portfolio to `target` (SPEC S4). `source`, if given, must be where it is.

    From a node that lives it is a planned move; from one that is offline, or from nobody, it is handed over at once.
    """
    owner = _owner(portfolio_id)
    if owner is None:
        return Answer(False, f"there is no portfolio {portfolio_id}")
    refusal = _why_not_there(owner, target, source)
    if refusal:
        return Answer(False, refusal, portfolio_id, owner.node_id, target)
    now = datetime.now(UTC)
    reason = f"asked for by {issued_by}" if issued_by else "asked for"
    if owner.node_id != NOBODY and Node.objects.filter(node_id=owner.node_id, state=NodeState.ONLINE).exists():
        if not moves.begin(owner, target, reason, now, issued_by or "operator"):
            return Answer(False, "it is being moved already", portfolio_id, owner.node_id, target)
        requests.request_settling()
        timeout = float(settings.GINKGO.scheduler.move_timeout)
        return Answer(True, "", portfolio_id, owner.node_id, target, timeout)
    handover.wait_briefly_for_locks()
    given = handover.give(owner, target, reason)
    if given is None:
        return Answer(False, "it has just got another owner: look again", portfolio_id, owner.node_id, target)
    commands.send(commands.MIGRATE_IN, portfolio_id, target, given.epoch, {"source": owner.node_id}, issued_by)
    requests.request_tick("migration")
    return Answer(True, "", portfolio_id, owner.node_id, target)


def rebalance(issued_by: str = "") -> Answer:
    """Balance now, to within one portfolio, as far as the moves of one tick go."""
    asked = commands.ask_scheduler(commands.REBALANCE, _who(issued_by))
    if asked.result:
        return Answer(False, "the scheduler could not be asked: Redis does not answer")
    return Answer(True)


def drain(node_id: str, issued_by: str = "") -> Answer:
    """Take the node out of service: what it has moves away, and it gets nothing until it is enabled."""
    if not Node.objects.filter(node_id=node_id).exists():
        return _unknown(node_id)
    Node.objects.filter(node_id=node_id).update(enabled=False)
    log.info("ExecutionNode %s is drained", node_id)
    commands.send(commands.NODE_DRAIN, node_id, node_id, issued_by=_who(issued_by))
    requests.request_tick(f"drain of {node_id}")
    return Answer(True, source_node=node_id)


def enable(node_id: str, issued_by: str = "", command_id: str = "") -> Answer:
    """Put a drained node back into service. `command_id`: of the command that asks for it, if it is in the log."""
    if not Node.objects.filter(node_id=node_id).exists():
        return _unknown(node_id)
    Node.objects.filter(node_id=node_id).update(enabled=True)
    if not command_id:
        command_log.done(commands.NODE_ENABLE, node_id, issued_by, "in service")
    log.info("ExecutionNode %s is enabled", node_id)
    requests.request_tick(f"{node_id} enabled")
    return Answer(True, target_node=node_id)


def shut_down(node_id: str, issued_by: str = "") -> Answer:
    """Have the node's process stop in order; it gives back what it has."""
    node = Node.objects.filter(node_id=node_id).first()
    if node is None:
        return _unknown(node_id)
    if node.state != NodeState.ONLINE:
        return Answer(False, f"node {node_id} is offline")
    sent = commands.send(commands.NODE_SHUTDOWN, node_id, node_id, issued_by=_who(issued_by))
    if sent.result:
        return Answer(False, sent.result, source_node=node_id)
    return Answer(True, source_node=node_id)


def _who(issued_by: str) -> str:
    return issued_by or command_log.system_user()


def _why_not_there(owner: Ownership, target: str, source: str) -> str:
    portfolio = Portfolio.objects.get(id=owner.portfolio_id)
    node = Node.objects.filter(node_id=target).first()
    if portfolio.desired_state != DesiredState.RUNNING:
        return f"portfolio {portfolio.name!r} is not to run: start it first"
    if source and source != owner.node_id:
        return f"portfolio {portfolio.name!r} is on {owner.node_id or 'no node'}, not on {source}"
    if owner.node_id == target:
        return f"portfolio {portfolio.name!r} is on {target} already"
    if node is None:
        return _unknown(target).reason
    if node.state != NodeState.ONLINE:
        return f"node {target} is offline"
    if not node.enabled:
        return f"node {target} is drained: enable it first"
    labels = Requirement.objects.filter(portfolio_id=portfolio.id).values_list("labels", flat=True).first()
    kind = planner.PortfolioDemand(portfolio.id, portfolio.market, requires=assignments.requires(labels)).kind
    if not planner.NodeOffer(target, node.room, registry.as_labels(node.labels)).takes(kind):
        return f"node {target} does not take {planner.describe(kind)}"
    if ailment := registry.why_not_accepting(node):
        return f"node {target} is {ailment}"
    there = set(Assignment.objects.filter(node_id=target).values_list("portfolio_id", flat=True))
    # A move that is over and not closed yet, or that is asked for again, takes no second place.
    coming = {pid for pid, to in moves.under_way().items() if to == target} - there - {portfolio.id}
    if len(there) + len(coming) >= node.room:
        on_their_way = f", {len(coming)} by portfolios on their way there" if coming else ""
        return f"node {target} is full ({len(there) + len(coming)} of {node.room} places taken{on_their_way})"
    return ""


def _owner(portfolio_id: str) -> Ownership | None:
    row = Assignment.objects.filter(portfolio_id=portfolio_id).values_list("portfolio_id", "node_id", "epoch").first()
    return None if row is None else Ownership(*row)


def _unknown(node_id: str) -> Answer:
    return Answer(False, f"there is no node {node_id!r}: see 'ginkgo scheduler nodes'")
