"""`ginkgo node`: run a node, and see which there are."""

from __future__ import annotations

from typing import Annotated

import typer
from django_typer.management import TyperCommand, command, initialize

from nodes.run import start_node

KafkaOption = Annotated[str, typer.Option("--kafka-bootstrap-servers", help="HOST:PORT,… over the configuration.")]
RedisHostOption = Annotated[str, typer.Option("--redis-host", help="Over the configuration.")]
RedisPortOption = Annotated[int | None, typer.Option("--redis-port", help="Over the configuration.")]


class Command(TyperCommand):
    help = "Run a node, and see which there are."

    @initialize()
    def init(self) -> None:
        """Run a node, and see which there are."""

    @command()
    def start(
        self,
        node_id: Annotated[str, typer.Option(help="The node's id, one process each.")],
        max_portfolios: Annotated[int | None, typer.Option(min=1, help="How many portfolios it takes.")] = None,
        kafka_bootstrap_servers: KafkaOption = "",
        redis_host: RedisHostOption = "",
        redis_port: RedisPortOption = None,
    ) -> None:
        """Run a node in the foreground until Ctrl-C or SIGTERM.

        Example: ginkgo node start --node-id node-3 --max-portfolios 5
        """
        start_node(node_id, max_portfolios)
