"""`ginkgo status`: nodes, portfolios, orders and the feed, as of now."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from django_typer.management import TyperCommand
from typer import Option

from ginkgo_site import status, status_screen
from portfolios.console import console, plain_errors, print_json


class Command(TyperCommand):
    help = "Nodes, portfolios, orders and the feed, as of now."
    requires_system_checks = []

    def handle(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        with plain_errors():
            look = status.look()
        if not as_json:
            return console().print(status_screen.render(look, datetime.now(UTC)))
        for note in look.notes:
            self.stderr.write(note)
        return print_json(look.document)
