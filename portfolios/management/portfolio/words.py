"""What the portfolio commands share: their common options, and what they say of a portfolio."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer
from django.contrib.auth.models import User
from typer import Argument, Option

from portfolios.console import print_json
from portfolios.lookup import user_of
from portfolios.models import Account, Portfolio

Which = Annotated[str, Argument(metavar="PORTFOLIO", help="Its id, the beginning of its id, or its name.")]
Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, Option("--yes", help="Real money is meant: do not ask.")]
Who = Annotated[str | None, Option("--user", help="Who does it; the first administrator if not given.")]
AccountName = Annotated[
    str | None, Option("--account", help="The account it trades in; its owner's paper account if not given.")
]


def author_of(name: str | None) -> User | None:
    """Who is at the command line. Raises NotFound for a name that nobody has."""
    if name is not None:
        return user_of(name)
    return User.objects.filter(is_superuser=True, is_active=True).order_by("pk").first()


def confirmed(account: Account | None, yes: bool) -> bool:
    """Whether real money is meant: said beforehand, or asked for now where somebody can answer."""
    if yes or account is None or not account.is_live or not sys.stdin.isatty():
        return yes
    return typer.confirm(f"Account {account.name} is LIVE: its orders are real money. Go on?", err=True)


def facts(portfolio: Portfolio) -> dict[str, Any]:
    account = portfolio.account
    return {
        "id": portfolio.id,
        "name": portfolio.name,
        "owner": portfolio.owner.get_username(),
        "market": portfolio.market,
        "account": account.name,
        "account_kind": account.kind,
        "broker": account.broker,
        "currency": account.currency,
        "initial_cash": portfolio.initial_cash,
        "version": portfolio.version,
        "desired_state": portfolio.desired_state,
        "status": portfolio.status,
        "created_at": portfolio.created_at,
        "updated_at": portfolio.updated_at,
    }


def say(portfolio: Portfolio, what: str, as_json: bool) -> None:
    if as_json:
        print_json(facts(portfolio))
    else:
        sys.stdout.write(f"{portfolio.name} {what}\n")
