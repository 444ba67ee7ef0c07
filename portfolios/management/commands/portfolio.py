"""`ginkgo portfolio`: create portfolios, look at them, start and stop them, change their configuration."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Option

from portfolios import services
from portfolios.console import plain_errors, print_json, print_table
from portfolios.management.options import config_of, read_json
from portfolios.models import Portfolio

Which = Annotated[str, Argument(metavar="PORTFOLIO", help="Its id, the beginning of its id, or its name.")]
Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]


class Command(TyperCommand):
    help = "Portfolios: create, look at, start, stop, configure."

    @initialize()
    def init(self) -> None:
        """Portfolios: create, look at, start, stop, configure."""

    @command(name="list")
    def list_(self, as_json: Json = False) -> None:
        """All portfolios with their state."""
        with plain_errors():
            found = services.list_portfolios()
        if as_json:
            return print_json(found)
        rows = [
            (p["id"][:8], p["name"], p["status"], p["node_id"], p["position_count"], p["cash"], p["total_value"])
            for p in found
        ]
        return print_table(
            "Portfolios",
            ("Id", "Name", "Status", "Node", "Pos.", "Cash", "Value"),
            rows,
            right=("Pos.", "Cash", "Value"),
        )

    @command()
    def show(self, portfolio: Which, as_json: Json = False) -> None:
        """One portfolio: what was asked for, with its configuration."""
        with plain_errors():
            found = services.find(portfolio)
            facts = {**_facts(found), "config": found.config}
        if as_json:
            return print_json(facts)
        print_table(found.name, ("Field", "Value"), [(k, v) for k, v in facts.items() if k != "config"])
        sys.stdout.write(json.dumps(found.config, indent=2, ensure_ascii=False) + "\n")
        return None

    @command()
    def status(self, portfolio: Which, as_json: Json = False) -> None:
        """One portfolio: where it runs and what it is worth."""
        with plain_errors():
            found = services.get_status(services.find(portfolio).id)
        if as_json:
            return print_json(found)
        return print_table(found["name"], ("Field", "Value"), found.items())

    @command()
    def positions(self, portfolio: Which, as_json: Json = False) -> None:
        """What it holds, as of its last checkpoint."""
        with plain_errors():
            found = services.find(portfolio)
            held = services.get_positions(found.id)
        if as_json:
            return print_json(held)
        names = ("code", "volume", "available", "cost_price", "last_price", "profit")
        rows = [[p[name] for name in names] for p in held]
        return print_table(
            f"{found.name}: positions", ("Code", "Volume", "Available", "Cost", "Price", "Profit"), rows,
            right=("Volume", "Available", "Cost", "Price", "Profit"),
        )  # fmt: skip

    @command()
    def create(
        self,
        name: Annotated[str, Option("--name", help="What it is called.")],
        initial_cash: Annotated[str, Option("--initial-cash", help="In its market's currency.")],
        user: Annotated[str | None, Option("--user", help="Its owner; the first administrator if not given.")] = None,
        market: Annotated[str, Option("--market", help="cn, hk, us or futures.")] = "cn",
        config: Annotated[Path | None, Option("--config", help="A file with the whole configuration (JSON).")] = None,
        strategy: Annotated[str | None, Option("--strategy", help="The strategy's name.")] = None,
        param: Annotated[list[str] | None, Option("--param", help="A strategy's parameter, k=v. Repeatable.")] = None,
        risk: Annotated[list[str] | None, Option("--risk", help="A risk rule, NAME:k=v,k=v. Repeatable.")] = None,
        sizer: Annotated[str | None, Option("--sizer", help="The sizer, NAME:k=v,k=v.")] = None,
        codes: Annotated[list[str] | None, Option("--codes", help="Codes, separated by commas. Repeatable.")] = None,
        policy: Annotated[list[str] | None, Option("--policy", help="A policy, k=v. Repeatable.")] = None,
        start: Annotated[bool, Option("--start", help="Want it running at once.")] = False,
        as_json: Json = False,
    ) -> None:
        """Create a portfolio and print its id."""
        with plain_errors():
            wanted = config_of(config, strategy, param or [], risk or [], sizer, codes or [], policy or [])
            made = services.create(name, user, market, initial_cash, wanted, running=start)
        if as_json:
            print_json(_facts(made))
        else:
            sys.stdout.write(f"{made.id}\n")

    @command()
    def start(self, portfolio: Which, as_json: Json = False) -> None:
        """Want it running; a node takes it up."""
        with plain_errors():
            _say(services.start(services.find(portfolio).id), "is to run", as_json)

    @command()
    def stop(self, portfolio: Which, as_json: Json = False) -> None:
        """Want it stopped."""
        with plain_errors():
            _say(services.stop(services.find(portfolio).id), "is to stop", as_json)

    @command()
    def reload(self, portfolio: Which, as_json: Json = False) -> None:
        """Load its newest configuration again."""
        with plain_errors():
            _say(services.reload(services.find(portfolio).id), "is to be reloaded", as_json)

    @command()
    def update(
        self,
        portfolio: Which,
        config: Annotated[Path | None, Option("--config", help="A file with the whole configuration (JSON).")] = None,
        strategy: Annotated[str | None, Option("--strategy", help="Another strategy.")] = None,
        param: Annotated[list[str] | None, Option("--param", help="A strategy's parameter, k=v. Repeatable.")] = None,
        risk: Annotated[list[str] | None, Option("--risk", help="All risk rules, NAME:k=v,k=v. Repeatable.")] = None,
        sizer: Annotated[str | None, Option("--sizer", help="Another sizer, NAME:k=v,k=v.")] = None,
        codes: Annotated[list[str] | None, Option("--codes", help="All codes, separated by commas.")] = None,
        policy: Annotated[list[str] | None, Option("--policy", help="A policy, k=v. Repeatable.")] = None,
        expected_version: Annotated[int | None, Option("--expected-version", help="Refuse if it is newer.")] = None,
        as_json: Json = False,
    ) -> None:
        """Change its configuration: a new version. What is not given stays as it is."""
        with plain_errors():
            found = services.find(portfolio)
            wanted = config_of(
                config, strategy, param or [], risk or [], sizer, codes or [], policy or [], base=found.config
            )
            changed = services.update_config(found.id, wanted, expected_version=expected_version)
            _say(changed, f"is at version {changed.version}", as_json)

    @command()
    def rollback(
        self,
        portfolio: Which,
        # Not `version`: that is an option of every Django command.
        number: Annotated[int, Argument(metavar="VERSION", help="The version to restore.")],
        as_json: Json = False,
    ) -> None:
        """Restore an old version of its configuration as the newest."""
        with plain_errors():
            changed = services.rollback(services.find(portfolio).id, number)
            _say(changed, f"is at version {changed.version}", as_json)

    @command()
    def revisions(self, portfolio: Which, as_json: Json = False) -> None:
        """All versions of its configuration: who, when, what."""
        with plain_errors():
            found = [
                {
                    "version": r.version,
                    "author": r.author.get_username() if r.author else None,
                    "created_at": r.created_at,
                    "change": r.change,
                }
                for r in services.revisions(services.find(portfolio).id)
            ]
        if as_json:
            return print_json(found)
        return print_table(portfolio, ("Version", "Who", "When", "What"), [tuple(r.values()) for r in found])

    @command()
    def export(
        self,
        portfolio: Which,
        output: Annotated[Path | None, Option("--output", help="A file; standard output if not given.")] = None,
        state: Annotated[bool, Option("--state", help="With the state of the last checkpoint, to read.")] = False,
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
        portfolio: Annotated[str | None, Argument(metavar="PORTFOLIO", help="Update this one instead.")] = None,
        user: Annotated[str | None, Option("--user", help="The new one's owner.")] = None,
        as_json: Json = False,
    ) -> None:
        """Create a portfolio from an exported file, or update one with it, and print its id."""
        with plain_errors():
            document = read_json(source)
            if isinstance(document, dict) and document.get("state"):
                sys.stderr.write("the state in the file is not taken over: it starts with its initial cash\n")
            existing = services.find(portfolio).id if portfolio else None
            made = services.import_portfolio(document, user, existing)
        if as_json:
            print_json(_facts(made))
        else:
            sys.stdout.write(f"{made.id}\n")


def _facts(portfolio: Portfolio) -> dict[str, Any]:
    return {
        "id": portfolio.id,
        "name": portfolio.name,
        "owner": portfolio.owner.get_username(),
        "market": portfolio.market,
        "initial_cash": portfolio.initial_cash,
        "version": portfolio.version,
        "desired_state": portfolio.desired_state,
        "status": portfolio.status,
        "created_at": portfolio.created_at,
        "updated_at": portfolio.updated_at,
    }


def _say(portfolio: Portfolio, what: str, as_json: bool) -> None:
    if as_json:
        print_json(_facts(portfolio))
    else:
        sys.stdout.write(f"{portfolio.name} {what}\n")
