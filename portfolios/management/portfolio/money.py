"""`ginkgo portfolio deposit|withdraw|correct|adjustments`: what a person changes in its books."""

from __future__ import annotations

import sys
from typing import Annotated

from django_typer.management import TyperCommand, command
from typer import Argument, Option

from portfolios import adjustments, services
from portfolios.console import plain_errors, print_json, print_table, shown
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.management.portfolio.words import Json, Which, Who
from portfolios.models import Adjustment, Portfolio
from portfolios.models.adjustment import AdjustmentState

Amount = Annotated[str, Argument(metavar="AMOUNT", help="In its account's currency.")]
Reason = Annotated[str, Option("--reason", help="Why: it is kept in the books.")]
Request = Annotated[str | None, Option("--request-id", help="A UUID: the same one again does nothing twice.")]
Patience = Annotated[float, Option("--wait", min=0, help="Seconds to wait for the node that runs it.")]

_PATIENCE = 15.0


class Money(TyperCommand):
    @command()
    def deposit(
        self,
        portfolio: Which,
        amount: Amount,
        reason: Reason,
        user: Who = None,
        request_id: Request = None,
        wait: Patience = _PATIENCE,
        as_json: Json = False,
    ) -> None:
        """Put cash in. A running portfolio's node books it, between two events."""
        with plain_errors():
            found = services.find(portfolio)
            _tell(found, services.deposit(found.id, amount, reason, user, request_id), wait, as_json)

    @command()
    def withdraw(
        self,
        portfolio: Which,
        amount: Amount,
        reason: Reason,
        user: Who = None,
        request_id: Request = None,
        wait: Patience = _PATIENCE,
        as_json: Json = False,
    ) -> None:
        """Take cash out, at most what is available."""
        with plain_errors():
            found = services.find(portfolio)
            _tell(found, services.withdraw(found.id, amount, reason, user, request_id), wait, as_json)

    @command()
    def correct(
        self,
        portfolio: Which,
        reason: Reason,
        cash: Annotated[str | None, Option("--cash", help="So much more cash, or, negative, less.")] = None,
        code: Annotated[str | None, Option("--code", help="Whose position was wrong.")] = None,
        volume: Annotated[str | None, Option("--volume", help="So much more of it, or, negative, less.")] = None,
        price: Annotated[str | None, Option("--price", help="Its cost; less leaves at the average cost.")] = None,
        user: Who = None,
        request_id: Request = None,
        wait: Patience = _PATIENCE,
        as_json: Json = False,
    ) -> None:
        """Correct its cash (--cash), or a position (--code, --volume, --price)."""
        with plain_errors():
            found = services.find(portfolio)
            if (cash is None) == (code is None):
                raise InvalidConfig([Fault("--cash", "or --code with --volume: correct one of them")])
            if cash is not None:
                asked = services.correct_cash(found.id, cash, reason, user, request_id)
            else:
                asked = services.correct_position(found.id, str(code), volume, reason, price, user, request_id)
            _tell(found, asked, wait, as_json)

    @command()
    def adjustments(self, portfolio: Which, as_json: Json = False) -> None:
        """Its deposits, withdrawals and corrections: who, when, why, and what became of them."""
        with plain_errors():
            found = services.list_adjustments(services.find(portfolio).id)
        if as_json:
            return print_json(found)
        rows = [
            (
                a["requested_at"].strftime("%Y-%m-%d %H:%M"),
                a["author"],
                a["kind"] if a["state"] == AdjustmentState.APPLIED else f"{a['kind']} {a['state']}",
                f"{a['volume']:+,}\n{a['code']}" if a["code"] else f"{a['amount']:+,.2f}",
                f"{a['reason']} ({a['outcome']})" if a["outcome"] else a["reason"],
            )
            for a in found
        ]
        columns = ("When", "Who", "What", "How much", "Why")
        return print_table(f"{portfolio}: adjustments", columns, rows, fixed=("When", "How much"))


def _tell(portfolio: Portfolio, asked: Adjustment, wait: float, as_json: bool) -> None:
    asked = adjustments.wait_for(asked, wait)
    if as_json:
        return print_json(adjustments.facts(asked))
    what = f"{asked.volume:+,} {asked.code}" if asked.code else f"{shown(asked.amount)} {portfolio.account.currency}"
    if asked.state == AdjustmentState.APPLIED:
        sys.stdout.write(f"{portfolio.name}: {asked.kind} of {what} is in the books\n")
    else:
        node = services.get_status(portfolio.id)["node_id"] or "its node"
        sys.stdout.write(
            f"{portfolio.name}: {asked.kind} of {what} is asked for; {node} books it when it can: "
            f"see 'ginkgo portfolio adjustments'\n"
        )
    return None
