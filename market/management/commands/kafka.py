"""`ginkgo kafka status`: brokers, topics, partitions and what is in them."""

from __future__ import annotations

from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from market import topic_admin
from market.bus import KafkaUnavailable
from portfolios.console import print_json, print_table


class Command(TyperCommand):
    help = "The Kafka that the platform uses."

    @initialize()
    def init(self) -> None:
        """The Kafka that the platform uses."""

    @command()
    def status(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """Brokers, topics, partitions and end offsets; one line and exit code 1 if it does not answer."""
        try:
            found = topic_admin.status()
        except KafkaUnavailable as error:
            raise CommandError(str(error)) from None
        if as_json:
            return print_json(found.as_dict())
        rows = [(t.name, t.partitions, t.replication, sum(t.end_offsets.values())) for t in found.topics]
        return print_table(
            f"Kafka at {', '.join(found.brokers)}",
            ("Topic", "Partitions", "Replicas", "Messages so far"),
            rows,
            right=("Partitions", "Replicas", "Messages so far"),
        )
