"""What an owner wants of a portfolio: that it runs, that it stops, that it loads its newest configuration again."""

from __future__ import annotations

from django.db import transaction

from portfolios import signals
from portfolios.errors import Unconfirmed
from portfolios.lookup import get, locked
from portfolios.models import Account, Portfolio
from portfolios.models.portfolio import DesiredState


def start(portfolio_id: str, confirmed: bool = False) -> Portfolio:
    """Want it running; the scheduler finds it a node. Also the way out of `error`.

    `confirmed`: whoever asks knows that it trades real money. Raises NotFound, and Unconfirmed for a live account's.
    """
    portfolio = get(portfolio_id)
    if portfolio.desired_state != DesiredState.RUNNING:
        confirm(portfolio.account, confirmed)
    return _desire(portfolio_id, DesiredState.RUNNING)


def stop(portfolio_id: str) -> Portfolio:
    """Want it stopped. Raises NotFound."""
    return _desire(portfolio_id, DesiredState.STOPPED)


def reload(portfolio_id: str) -> Portfolio:
    """Ask whoever runs it to load the newest version again. Raises NotFound."""
    portfolio = get(portfolio_id)
    signals.tell(signals.config_changed, portfolio.id, version=portfolio.version)
    return portfolio


def confirm(account: Account, confirmed: bool) -> None:
    """Raises Unconfirmed if this is real money and nobody said that it is meant."""
    if account.is_live and not confirmed:
        raise Unconfirmed(
            f"account {account.name!r} is live, its orders are real money at {account.broker}: "
            "confirm that this is meant (--yes)"
        )


def _desire(portfolio_id: str, state: DesiredState) -> Portfolio:
    with transaction.atomic():
        portfolio = locked(portfolio_id)
        if portfolio.desired_state != state:
            portfolio.desired_state = state
            portfolio.save(update_fields=["desired_state", "updated_at"])
        # Told even if it was wanted before: whoever asks again has a reason to.
        signals.tell(signals.desired_state_changed, portfolio.id, desired_state=str(state))
    return portfolio
