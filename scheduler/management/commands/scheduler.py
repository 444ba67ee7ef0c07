"""`ginkgo scheduler`: run it, look at its nodes, its plan and the command log, move portfolios."""

from __future__ import annotations

import dataclasses
from typing import Annotated, Any

from celery import current_app
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Exit, Option

from portfolios import services
from portfolios.command_log import system_user
from portfolios.console import plain_errors, print_json, print_table, shown
from scheduler import operations, service, views_data

_MOST = 1000
_NARROW = 24
"""Characters of a target's name in the table; --json has all."""

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]


class Command(TyperCommand):
    help = "The scheduler: run it, look at its nodes, its plan and the command log, move portfolios."

    @initialize()
    def init(self) -> None:
        """The scheduler: run it, look at its nodes, its plan and the command log, move portfolios."""

    @command()
    def run(
        self,
        hostname: Annotated[str, Option("--hostname", help="Its name in Flower; scheduler@HOST if not given.")] = "",
    ) -> None:
        """Beat, worker and event consumer in one process, until SIGTERM or Ctrl-C."""
        try:
            with plain_errors():
                code = service.run(current_app._get_current_object(), hostname)
        except service.Unready as error:
            raise CommandError(str(error)) from None
        raise Exit(code)

    @command()
    def nodes(self, as_json: Json = False) -> None:
        """Every node with its load and its last heartbeat."""
        with plain_errors():
            found = views_data.nodes()
        if as_json:
            return print_json(found)
        columns = ("Node ID", "Portfolios", "Queue Size", "CPU Usage", "Last Heartbeat")
        rows = [
            (
                n["node_id"] if n["enabled"] else f"{n['node_id']} (drained)",
                f"{n['assigned_count']}/{n['max_portfolios']}",
                f"{n['queue_size']:.0f}",
                f"{n['cpu_usage']:.1f}%",
                _heartbeat(n["heartbeat_age"], n["state"]),
            )
            for n in found
        ]
        return print_table("ExecutionNode Status", columns, rows, right=columns[1:4])

    @command()
    def plan(self, as_json: Json = False) -> None:
        """Which node runs which portfolio, and why."""
        with plain_errors():
            found = views_data.plan()
        if as_json:
            return print_json(found)
        rows = [
            (
                p["portfolio_id"][:8],
                p["name"],
                p["status"],
                f"{p['node_id'] or '-'} → {p['moving_to']}" if p["moving_to"] else p["node_id"],
                p["epoch"],
                p["reason"],
            )
            for p in found["portfolios"]
        ]
        return print_table(
            f"Plan {found['version']}", ("Id", "Name", "Status", "Node", "Epoch", "Reason"), rows, right=("Epoch",)
        )

    @command()
    def commands(
        self,
        node: Annotated[str, Option("--node", help="Only those sent to this node, or about it.")] = "",
        portfolio: Annotated[str, Option("--portfolio", help="Only those for this one: its id, or its name.")] = "",
        limit: Annotated[int, Option("--limit", min=1, max=_MOST, help="At most so many, the newest.")] = 20,
        as_json: Json = False,
    ) -> None:
        """What was asked of portfolios, nodes, scheduler and engine: by whom, when, and what became of it."""
        with plain_errors():
            target = services.find(portfolio).id if portfolio else ""
            found = views_data.command_log(limit, target, node)
        if as_json:
            return print_json(found)
        columns = ("When", "What", "State", "Result")
        return print_table("Commands, the newest first", columns, map(_command, found), fixed=columns[:2])

    @command()
    def status(self, as_json: Json = False) -> None:
        """Whether it runs, and what it did last."""
        with plain_errors():
            found = views_data.status()
        if as_json:
            return print_json(found)
        return print_table("Scheduler", ("Field", "Value"), found.items())

    @command()
    def migrate(
        self,
        portfolio: Annotated[str, Argument(metavar="PORTFOLIO", help="Its id, the beginning of its id, or its name.")],
        target: Annotated[str, Option("--to", help="The node to move it to.")],
        source: Annotated[str, Option("--from", help="Refuse unless it is on this node.")] = "",
        as_json: Json = False,
    ) -> None:
        """Move a running portfolio to another node."""
        with plain_errors():
            answer = operations.migrate(services.find(portfolio).id, target, source, system_user())
            _report(answer, f"moving from {answer.source_node or 'nobody'} to {answer.target_node}", as_json)

    @command()
    def rebalance(self, as_json: Json = False) -> None:
        """Balance the portfolios among the nodes now."""
        with plain_errors():
            _report(operations.rebalance(system_user()), "the scheduler balances now", as_json)


def _report(answer: operations.Answer, done: str, as_json: bool) -> Any:
    if not answer.accepted:
        raise CommandError(answer.reason)
    if as_json:
        return print_json(dataclasses.asdict(answer))
    return print_table("Accepted", ("Answer",), [(done,)])


def _command(row: dict[str, Any]) -> tuple[str, str, str, str]:
    """When it was asked and how long it took; what of whom; its state and by whom; the result."""
    target = row["target_id"][:8] if row["command_type"].startswith("portfolio.") else row["target_id"][:_NARROW]
    took = row["finished_at"] and f"+{max(0.0, (row['finished_at'] - row['created_at']).total_seconds()):.1f} s"
    what = (row["command_type"], target, None if row["epoch"] is None else f"epoch {row['epoch']}")
    where = row["node_id"] and row["node_id"] != row["target_id"] and f"on {row['node_id']}"
    return (
        "\n".join(filter(None, (*shown(row["created_at"]).split(), took))),
        "\n".join(filter(None, what)),
        "\n".join((row["state"], f"by {shown(row['issued_by'])}")),
        "\n".join(filter(None, (where, row["result"]))),
    )


def _heartbeat(age: float | None, state: str) -> str:
    """`3s ago`; a state that is not the usual one beside it."""
    if age is None:
        return state
    return f"{age:.0f}s ago" if state in ("running", "online") else f"{age:.0f}s ago, {state}"
