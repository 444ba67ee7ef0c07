"""`ginkgo mysql status`: is it there, which one is it, and what is in it."""

from __future__ import annotations

from typing import Annotated

from django_typer.management import TyperCommand, command, initialize
from typer import Option

from ginkgo_site import health
from ginkgo_site.server_command import show_status


class Command(TyperCommand):
    help = "The database: MySQL, MariaDB, or SQLite where none is given."
    requires_system_checks = []

    @initialize()
    def init(self) -> None:
        """The database: MySQL, MariaDB, or SQLite where none is given."""

    @command()
    def status(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """Ask it; one line and exit code 1 if it does not answer."""
        show_status("MySQL", health.mysql, as_json)
