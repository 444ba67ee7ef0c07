"""A new portfolio, with everything that belongs to it from its first moment on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from portfolios import accounts, adjustments, command_log, configs, signals
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.lookup import user_of
from portfolios.models import Account, Assignment, Checkpoint, Portfolio, Revision
from portfolios.models.portfolio import DesiredState
from portfolios.wishes import confirm


def create(
    name: str,
    owner: User | str | None,
    market: str,
    initial_cash: Decimal | int | str,
    config: Mapping[str, Any],
    *,
    running: bool = False,
    author: User | None = None,
    account: Account | str | None = None,
    positions: Sequence[Mapping[str, Any]] = (),
    confirmed: bool = False,
    change: str = "created",
) -> Portfolio:
    """A new portfolio with its first revision, nobody's yet.

    `owner`: a user, a user's name, or None for the first administrator. `running`: wanted running at once. `account`:
    an account, its name or id, or None for the owner's paper account; a live one needs `confirmed`. `positions`: what
    it holds already, beside its cash, each with code, volume, cost_price and perhaps date. Raises InvalidConfig with
    all faults of name, market, cash, config and positions together, NotFound, Conflict, Unconfirmed.
    """
    cash, faults = configs.cash_of(initial_cash)
    faults = [*name_faults(name), *faults, *configs.faults_of(config, market)]
    faults += adjustments.opening_faults(positions, market)
    if faults or cash is None:
        raise InvalidConfig(faults)
    user = user_of(owner)
    with transaction.atomic():
        trades_in = accounts.chosen_for(user, market, account, author or user)
        confirm(trades_in, confirmed)
        portfolio = Portfolio.objects.create(
            name=name.strip(),
            owner=user,
            market=market,
            account=trades_in,
            initial_cash=cash,
            config=configs.validate(config, market),
            desired_state=DesiredState.RUNNING if running else DesiredState.STOPPED,
        )
        Revision.objects.create(
            portfolio=portfolio, version=1, config=portfolio.config, author=author or user, change=change
        )
        Assignment.objects.create(portfolio=portfolio)
        Checkpoint.objects.create(portfolio=portfolio)
        if positions:
            adjustments.open_with(portfolio, positions, author or user)
        if running:
            who = (author or user).get_username()
            command_log.done("portfolio.start", portfolio.id, who, command_log.WANTED)
            signals.tell(signals.desired_state_changed, portfolio.id, desired_state=portfolio.desired_state)
    return portfolio


def name_faults(name: Any) -> list[Fault]:
    good = isinstance(name, str) and 0 < len(name.strip()) <= 200
    return [] if good else [Fault("name", "must have 1 to 200 characters")]
