"""`ginkgo portfolio list|show|status|positions`: what there is, and what it does."""

from __future__ import annotations

import json
import sys
from typing import Annotated, Any

from django_typer.management import TyperCommand, command
from typer import Option

from portfolios import services
from portfolios.console import plain_errors, print_json, print_table
from portfolios.decisions import DecisionsUnknown
from portfolios.management.portfolio.words import Json, Which, facts

_SIDES = {1: "buy", -1: "sell"}


class Looking(TyperCommand):
    @command(name="list")
    def list_(self, as_json: Json = False) -> None:
        """All portfolios with their state and their account."""
        with plain_errors():
            found = services.list_portfolios()
        if as_json:
            return print_json(found)
        rows = [
            (p["id"][:8], f"{p['name']}\n{_account(p)}", p["status"], p["node_id"], p["cash"], p["total_value"])
            for p in found
        ]
        return print_table(
            "Portfolios",
            ("Id", "Name\naccount", "Status", "Node", "Cash", "Value"),
            rows,
            right=("Cash", "Value"),
            fixed=("Id", "Status"),
        )

    @command()
    def show(
        self,
        portfolio: Which,
        decisions: Annotated[int, Option("--decisions", min=0, max=500, help="So many of its last decisions.")] = 10,
        as_json: Json = False,
    ) -> None:
        """One portfolio: what was asked for, with its configuration, and what it decided of late and why."""
        with plain_errors():
            found = services.find(portfolio)
            known = {**facts(found), "config": found.config, "decisions": _decisions(found.id, decisions)}
        if as_json:
            return print_json(known)
        print_table(found.name, ("Field", "Value"), [(k, v) for k, v in known.items() if k not in _APART])
        sys.stdout.write(json.dumps(found.config, indent=2, ensure_ascii=False) + "\n")
        if known["decisions"]:
            _print_decisions(known["decisions"])
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


_APART = ("config", "decisions")


def _account(found: dict[str, Any]) -> str:
    return f"{found['account']} {'LIVE' if found['account_kind'] == 'live' else ''}".strip()


def _decisions(portfolio_id: str, limit: int) -> list[dict[str, Any]] | None:
    """The newest first; None, and a line on stderr, where nobody can tell."""
    try:
        return services.get_decisions(portfolio_id, limit)
    except DecisionsUnknown as unknown:
        sys.stderr.write(f"{unknown}\n")
        return None


def _print_decisions(decisions: list[dict[str, Any]]) -> None:
    rows = [
        (
            str(d.get("timestamp", ""))[:16].replace("T", " "),
            d.get("kind"),
            d.get("code"),
            _side(d),
            f"{d.get('source')}: {d.get('reason')}" if d.get("reason") else d.get("source"),
        )
        for d in decisions
    ]
    columns = ("When", "What", "Code", "Side", "Why")
    print_table("Its last decisions, the newest first", columns, rows, fixed=columns[:4])


def _side(decision: dict[str, Any]) -> str:
    side = _SIDES.get(decision.get("direction", 0), "")
    volume = decision.get("volume")
    return f"{side} {volume:,}" if volume else side
