"""`ginkgo redis status`: is it there, which one is it, and what is in it."""

from __future__ import annotations

from typing import Annotated

from django_typer.management import TyperCommand, command, initialize
from typer import Option

from ginkgo_site import health
from ginkgo_site.server_command import show_status


class Command(TyperCommand):
    help = "The Redis or Valkey that the platform uses."
    requires_system_checks = []

    @initialize()
    def init(self) -> None:
        """The Redis or Valkey that the platform uses."""

    @command()
    def status(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """Ask it; one line and exit code 1 if it does not answer."""
        show_status("Redis", health.redis_, as_json)
