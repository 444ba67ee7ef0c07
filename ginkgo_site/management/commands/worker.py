"""`ginkgo worker start --type execution_node`: another name for `ginkgo node start`."""

from __future__ import annotations

from typing import Annotated

import typer
from django_typer.management import TyperCommand, command, initialize

from ginkgo_site.management.commands.node import KafkaOption, RedisHostOption, RedisPortOption, run


class Command(TyperCommand):
    help = "Run a worker; of the one type there is, this is 'node start'."

    @initialize()
    def init(self) -> None:
        """Run a worker; of the one type there is, this is 'node start'."""

    @command()
    def start(
        self,
        node_id: Annotated[str, typer.Option(help="The node's id, one process each.")],
        type: Annotated[str, typer.Option(help="execution_node")] = "execution_node",
        max_portfolios: Annotated[int | None, typer.Option(min=1, help="How many portfolios it takes.")] = None,
        kafka_bootstrap_servers: KafkaOption = "",
        redis_host: RedisHostOption = "",
        redis_port: RedisPortOption = None,
    ) -> None:
        """Run a node in the foreground until Ctrl-C or SIGTERM."""
        if type != "execution_node":
            self.stderr.write(f"ginkgo: unknown worker type {type!r}: there is execution_node")
            raise typer.Exit(2)
        run(node_id, max_portfolios)
