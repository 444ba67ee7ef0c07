"""`ginkgo account`: the accounts that portfolios trade in, paper and live."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Option

from portfolios import accounts
from portfolios.console import plain_errors, print_json, print_table
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.management.portfolio.words import Json

Which = Annotated[str, Argument(metavar="ACCOUNT", help="Its name, its id, or the beginning of its id.")]
Rate = Annotated[str | None, Option("--max-orders-per-minute", help="Of all of its portfolios; 'none' for no limit.")]
Value = Annotated[str | None, Option("--max-order-value", help="Of one order; 'none' for no limit.")]
Turnover = Annotated[str | None, Option("--max-daily-turnover", help="Of all of its portfolios; 'none' for no limit.")]


class Command(TyperCommand):
    help = "Accounts that portfolios trade in: paper, or real money."

    @initialize()
    def init(self) -> None:
        """Accounts that portfolios trade in: paper, or real money."""

    @command(name="list")
    def list_(self, as_json: Json = False) -> None:
        """All accounts."""
        with plain_errors():
            found = accounts.list_accounts()
        if as_json:
            return print_json(found)
        rows = [
            (a["id"][:8], a["name"], a["owner"], _kind(a["kind"]), a["broker"], a["currency"], a["portfolios"])
            for a in found
        ]
        return print_table(
            "Accounts", ("Id", "Name", "Owner", "Kind", "Broker", "In", "Portfolios"), rows, right=("Portfolios",)
        )

    @command()
    def show(self, account: Which, as_json: Json = False) -> None:
        """One account, with its limits and its portfolios."""
        with plain_errors():
            found = accounts.find(account)
            known = {**accounts.facts(found), "portfolios": [p.name for p in found.portfolios.all()]}
        if as_json:
            return print_json(known)
        known["portfolios"] = ", ".join(known["portfolios"])
        return print_table(found.name, ("Field", "Value"), known.items())

    @command()
    def create(
        self,
        name: Annotated[str, Option("--name", help="What it is called.")],
        broker: Annotated[str, Option("--broker", help="As named under brokers in the configuration.")] = "simulation",
        kind: Annotated[str, Option("--kind", help="paper or live.")] = "paper",
        currency: Annotated[str, Option("--currency", help="CNY, HKD or USD.")] = "CNY",
        user: Annotated[str | None, Option("--user", help="Its owner; the first administrator if not given.")] = None,
        max_orders_per_minute: Rate = None,
        max_order_value: Value = None,
        max_daily_turnover: Turnover = None,
        as_json: Json = False,
    ) -> None:
        """Create an account and print its id. The engine of that broker takes its orders, and no other."""
        with plain_errors():
            limits = _limits(max_orders_per_minute, max_order_value, max_daily_turnover)
            made = accounts.create(name, user, broker=broker, kind=kind, currency=currency, limits=limits)
        if as_json:
            print_json(accounts.facts(made))
        else:
            sys.stdout.write(f"{made.id}\n")

    @command()
    def limit(
        self,
        account: Which,
        max_orders_per_minute: Rate = None,
        max_order_value: Value = None,
        max_daily_turnover: Turnover = None,
        as_json: Json = False,
    ) -> None:
        """Limit what all portfolios of an account may do together, from the next order on."""
        with plain_errors():
            limits = _limits(max_orders_per_minute, max_order_value, max_daily_turnover)
            if not limits:
                raise InvalidConfig([Fault("--max-…", "is missing: give one of the limits, or see 'account show'")])
            changed = accounts.change_limits(accounts.find(account).id, limits)
        if as_json:
            return print_json(accounts.facts(changed))
        return print_table(
            changed.name, ("Limit", "Value"), [(name, getattr(changed, name)) for name in accounts.LIMITS]
        )


def _limits(rate: str | None, value: str | None, turnover: str | None) -> dict[str, Any]:
    """Those that are given; 'none' takes one away."""
    given = dict(zip(accounts.LIMITS, (rate, value, turnover), strict=True))
    limits: dict[str, Any] = {key: None if text == "none" else text for key, text in given.items() if text is not None}
    if (text := limits.get("max_orders_per_minute")) and text.isdecimal():
        limits["max_orders_per_minute"] = int(text)
    return limits


def _kind(kind: str) -> str:
    return "LIVE" if kind == "live" else kind
