"""`ginkgo node`: run a node, see which there are, take one out of service."""

from __future__ import annotations

import threading
import time
from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Exit, Option

from nodes.run import start_node
from portfolios import exits
from portfolios.console import plain_errors, print_json, print_table
from portfolios.models import Assignment
from scheduler import operations, registry, views_data
from scheduler.operations import Answer

_LOOK_EVERY = 0.25

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
Yes = Annotated[bool, Option("--yes", help="Do not ask.")]
NodeId = Annotated[str, Argument(help="The node's id.")]
KafkaOption = Annotated[str, Option("--kafka-bootstrap-servers", help="HOST:PORT,… over the configuration.")]
RedisHostOption = Annotated[str, Option("--redis-host", help="Over the configuration.")]
RedisPortOption = Annotated[int | None, Option("--redis-port", help="Over the configuration.")]


def run(node_id: str, max_portfolios: int | None, enable: bool = False) -> None:
    """Be this node until it is stopped, `enable`d before if it was drained. Raises CommandError where it cannot be."""
    with plain_errors():
        if other := registry.other_spelling(node_id):
            raise CommandError(f"--node-id {node_id!r}: there is a node {other!r}, and case alone makes no other id")
        if enable:
            operations.enable(node_id)  # one that has never run is in service
    # The three addresses are read by ginkgo_site.overrides, before the settings are.
    start_node(node_id, max_portfolios)


class Command(TyperCommand):
    help = "Run a node, see which there are, take one out of service."

    @initialize()
    def init(self) -> None:
        """Run a node, see which there are, take one out of service."""

    @command()
    def start(
        self,
        node_id: Annotated[str, Option(help="The node's id, one process each.")],
        max_portfolios: Annotated[int | None, Option(min=1, help="How many portfolios it takes.")] = None,
        enable: Annotated[bool, Option("--enable", help="Put it back into service if it was drained.")] = False,
        kafka_bootstrap_servers: KafkaOption = "",
        redis_host: RedisHostOption = "",
        redis_port: RedisPortOption = None,
    ) -> None:
        """Run a node in the foreground until Ctrl-C or SIGTERM."""
        run(node_id, max_portfolios, enable)

    @command("list")
    def list_(self, as_json: Json = False) -> None:
        """Every node with its load."""
        with plain_errors():
            found = views_data.nodes()
        if as_json:
            return print_json(found)
        columns = ("Node", "State", "Portfolios", "Events", "CPU", "Memory", "Host")
        rows = [
            (
                n["node_id"],
                n["state"] if n["enabled"] else f"{n['state']}, drained",
                f"{n['assigned_count']}/{n['max_portfolios']}",
                n["total_events"],
                f"{n['cpu_usage']:.0f}%",
                f"{n['memory_usage']:.0f} MB",
                f"{n['host']}:{n['pid']}",
            )
            for n in found
        ]
        return print_table("Nodes", columns, rows, right=columns[2:6])

    @command()
    def drain(
        self,
        node_id: NodeId,
        wait: Annotated[float, Option("--wait", min=0, help="Seconds to wait until it has nothing left.")] = 0.0,
        as_json: Json = False,
    ) -> None:
        """Take a node out of service: what it runs moves away, and it gets nothing until it is enabled.

        Trading goes on: each portfolio pauses for the moment of its move. Exit code 1 if it is not empty in time.
        """
        with plain_errors():
            answer = operations.drain(node_id)
            left = _wait_until_empty(node_id, wait) if wait and answer.accepted else 0
        if left:
            raise CommandError(f"{node_id} still has {left} portfolios after {wait:g} s: see 'ginkgo scheduler plan'")
        self._answer(answer, f"{node_id} is {'drained' if wait else 'being drained'}", as_json)

    @command()
    def enable(self, node_id: NodeId, as_json: Json = False) -> None:
        """Put a drained node back into service."""
        with plain_errors():
            self._answer(operations.enable(node_id), f"{node_id} is enabled", as_json)

    @command()
    def shutdown(self, node_id: NodeId, yes: Yes = False, as_json: Json = False) -> None:
        """Have a node's process stop in order; its portfolios move to other nodes."""
        exits.ask(f"Stop the process of {node_id}?", yes)
        with plain_errors():
            self._answer(operations.shut_down(node_id), f"{node_id} is shutting down", as_json)

    def _answer(self, answer: Answer, done: str, as_json: bool) -> None:
        if as_json:
            print_json({"accepted": answer.accepted, "message": answer.reason or done})
        elif answer.accepted:
            self.stdout.write(done)
        else:
            self.stderr.write(f"ginkgo: {answer.reason}")
        if not answer.accepted:
            raise Exit(exits.FAILED)


def _wait_until_empty(node_id: str, seconds: float) -> int:
    """How many portfolios it still has when it is empty, or after so many seconds."""
    deadline = time.monotonic() + seconds
    while (left := Assignment.objects.filter(node_id=node_id).count()) and time.monotonic() < deadline:
        threading.Event().wait(_LOOK_EVERY)
    return left
