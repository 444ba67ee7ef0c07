"""`ginkgo portfolio create|start|stop|reload`: what is to run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from django_typer.management import TyperCommand, command
from typer import Option

from portfolios import accounts, exits, services
from portfolios.console import plain_errors, print_json
from portfolios.lookup import user_of
from portfolios.management.options import config_of, position
from portfolios.management.portfolio.words import (
    AccountName,
    Json,
    Which,
    Yes,
    author_of,
    confirmed,
    facts,
    say,
)


class Running(TyperCommand):
    @command()
    def create(
        self,
        name: Annotated[str, Option("--name", help="What it is called.")],
        initial_cash: Annotated[str, Option("--initial-cash", help="In its market's currency.")],
        user: Annotated[str | None, Option("--user", help="Its owner; the first administrator if not given.")] = None,
        market: Annotated[str, Option("--market", help="cn, hk, us or futures.")] = "cn",
        account: AccountName = None,
        config: Annotated[Path | None, Option("--config", help="A file with the whole configuration (JSON).")] = None,
        strategy: Annotated[str | None, Option("--strategy", help="The strategy's name.")] = None,
        param: Annotated[list[str] | None, Option("--param", help="A strategy's parameter, k=v. Repeatable.")] = None,
        risk: Annotated[list[str] | None, Option("--risk", help="A risk rule, NAME:k=v,k=v. Repeatable.")] = None,
        sizer: Annotated[str | None, Option("--sizer", help="The sizer, NAME:k=v,k=v.")] = None,
        codes: Annotated[list[str] | None, Option("--codes", help="Codes, separated by commas. Repeatable.")] = None,
        policy: Annotated[list[str] | None, Option("--policy", help="A policy, k=v. Repeatable.")] = None,
        positions: Annotated[
            list[str] | None,
            Option("--position", help="What it holds already: CODE:VOLUME@COST, perhaps @DATE. Repeatable."),
        ] = None,
        start: Annotated[bool, Option("--start", help="Want it running at once.")] = False,
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        """Create a portfolio and print its id."""
        with plain_errors():
            wanted = config_of(config, strategy, param or [], risk or [], sizer, codes or [], policy or [])
            owner = user_of(user)
            chosen = accounts.find(account, owner) if account is not None else None
            made = services.create(
                name, owner, market, initial_cash, wanted,
                running=start, author=author_of(None), account=chosen, confirmed=confirmed(chosen, yes),
                positions=[position(text) for text in positions or []],
            )  # fmt: skip
        if as_json:
            print_json(facts(made))
        else:
            sys.stdout.write(f"{made.id}\n")

    @command()
    def start(self, portfolio: Which, yes: Yes = False, as_json: Json = False) -> None:
        """Want it running; a node takes it up."""
        with plain_errors():
            found = services.find(portfolio)
            say(services.start(found.id, confirmed=confirmed(found.account, yes)), "is to run", as_json)

    @command()
    def stop(self, portfolio: Which, yes: Yes = False, as_json: Json = False) -> None:
        """Want it stopped: its open orders are cancelled, what it holds stays."""
        with plain_errors():
            found = services.find(portfolio)
            if found.account.is_live:
                question = f"Account {found.account.name} is LIVE: stop trading and cancel open orders?"
                exits.ask(question, yes, outright=True)
            say(services.stop(found.id), "is to stop", as_json)

    @command()
    def reload(self, portfolio: Which, as_json: Json = False) -> None:
        """Load its newest configuration again."""
        with plain_errors():
            asked = services.reload(services.find(portfolio).id)
            nobody = "is on no node: its next start takes its newest configuration"
            say(asked, "is to be reloaded" if asked.assignment.node_id else nobody, as_json)
