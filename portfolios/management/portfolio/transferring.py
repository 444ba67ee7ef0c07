"""`ginkgo portfolio export|import`: a portfolio as one JSON file."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command
from typer import Argument, Option

from portfolios import accounts, services, transfer
from portfolios.console import plain_errors, print_json
from portfolios.lookup import user_of
from portfolios.management.options import read_json
from portfolios.management.portfolio.words import AccountName, Json, Which, Yes, author_of, confirmed, facts


class Transferring(TyperCommand):
    @command()
    def export(
        self,
        portfolio: Which,
        output: Annotated[Path | None, Option("--output", help="A file; standard output if not given.")] = None,
        state: Annotated[
            bool, Option("--with-state", "--state", help="With its cash, positions and memory, as last saved.")
        ] = False,
        as_json: Json = False,
    ) -> None:
        """Write it down as one JSON file."""
        with plain_errors():
            document = services.export_portfolio(services.find(portfolio).id, with_state=state)
        if output is None:
            return print_json(document)
        try:
            output.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from None
        if as_json:
            print_json({"id": document["portfolio"]["id"], "output": str(output)})
        return None

    @command(name="import")
    def import_(
        self,
        source: Annotated[Path, Option("--input", help="A file that `export` wrote.")],
        portfolio: Annotated[
            str | None, Argument(metavar="PORTFOLIO", help="Update this one; a state replaces that of a stopped one.")
        ] = None,
        user: Annotated[
            str | None, Option("--user", help="Who does it, a new one's owner; else the first administrator.")
        ] = None,
        account: AccountName = None,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        """Create a portfolio from an exported file, or update one with it, and print its id.

        A state comes without its open orders: those are the other portfolio's, under its id.
        """
        with plain_errors():
            document = read_json(source)
            if portfolio is not None:
                found = services.find(portfolio)
                made = services.import_portfolio(document, portfolio_id=found.id, author=author_of(user))
            else:
                owner = user_of(user)
                chosen = accounts.find(account, owner) if account is not None else None
                made = services.import_portfolio(
                    document, owner, author=author_of(None), account=chosen, confirmed=confirmed(chosen, yes)
                )
        if left_out := transfer.open_orders_of(document):
            sys.stderr.write(f"open orders left out: {left_out} (they are the other portfolio's, under its id)\n")
        if as_json:
            print_json(facts(made))
        else:
            sys.stdout.write(f"{made.id}\n")
