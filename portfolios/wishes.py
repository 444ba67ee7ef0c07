"""What an owner wants of a portfolio: that it runs, that it stops, that it loads its newest configuration again."""

from __future__ import annotations

from django.db import transaction

from portfolios import command_log, signals
from portfolios.errors import Unconfirmed
from portfolios.lookup import get, locked
from portfolios.models import Account, Portfolio
from portfolios.models.portfolio import DesiredState


def start(portfolio_id: str, confirmed: bool = False, asked_by: str = "", command_id: str = "") -> Portfolio:
    """Want it running; the scheduler finds it a node. Also the way out of `error`.

    `confirmed`: whoever asks knows that it trades real money. `asked_by`: who, for the command log; empty: whoever
    runs this process. `command_id`: of the command that asks for it, if the log has it already. A node that has it
    already is asked to try again. Raises NotFound, and Unconfirmed for a live account's.
    """
    portfolio = get(portfolio_id)
    if portfolio.desired_state != DesiredState.RUNNING:
        confirm(portfolio.account, confirmed)
    return _desire(portfolio_id, DesiredState.RUNNING, asked_by, command_id)


def stop(portfolio_id: str, asked_by: str = "", command_id: str = "") -> Portfolio:
    """Want it stopped. `asked_by` and `command_id` as in `start`. Raises NotFound."""
    return _desire(portfolio_id, DesiredState.STOPPED, asked_by, command_id)


def reload(portfolio_id: str, asked_by: str = "") -> Portfolio:
    """Ask the node that has it, which is the answer's `assignment.node_id`, to load the newest version again.

    Where none has it nobody is asked: its next start takes the newest. `asked_by` as in `start`. Raises NotFound.
    """
    portfolio = get(portfolio_id)
    if portfolio.assignment.node_id:
        signals.tell(signals.config_changed, portfolio.id, version=portfolio.version, asked_by=asked_by)
    else:
        command_log.done("portfolio.reload", portfolio.id, asked_by, command_log.NEXT_START)
    return portfolio


def confirm(account: Account, confirmed: bool) -> None:
    """Raises Unconfirmed if this is real money and nobody said that it is meant."""
    if account.is_live and not confirmed:
        raise Unconfirmed(
            f"account {account.name!r} is live, its orders are real money at {account.broker}: "
            "confirm that this is meant (--yes)"
        )


def _desire(portfolio_id: str, state: DesiredState, asked_by: str, command_id: str) -> Portfolio:
    with transaction.atomic():
        portfolio = locked(portfolio_id)
        if portfolio.desired_state != state:
            portfolio.desired_state = state
            portfolio.save(update_fields=["desired_state", "updated_at"])
        if not command_id:
            kind = "portfolio.start" if state == DesiredState.RUNNING else "portfolio.stop"
            command_log.done(kind, portfolio.id, asked_by, command_log.WANTED)
        # Told even if it was wanted before: whoever asks again has a reason to.
        signals.tell(signals.desired_state_changed, portfolio.id, desired_state=str(state), asked_by=asked_by)
    return portfolio
