"""`ginkgo drill`: failures on purpose, on a cluster of real processes of its own (SPEC section 11)."""

from __future__ import annotations

from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Argument, Exit, Option

from ginkgo_site.drill import catalogue
from ginkgo_site.drill.drills import DRILLS
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.report import show
from portfolios.console import console, print_json


class Command(TyperCommand):
    help = "Kill, freeze and cut off a cluster of its own while orders flow, and judge what became of them."

    # It touches nothing of this home: neither tables nor servers.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(
        self,
        names: Annotated[
            list[str] | None, Argument(metavar="[NAME]…", help=f"Of {', '.join(DRILLS)}; by default all.")
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        wanted = list(dict.fromkeys(names or DRILLS))
        for name in wanted:
            if name not in DRILLS:
                raise CommandError(f"there is no drill {name!r}: one of {', '.join(DRILLS)}")
        try:
            outcomes = list(catalogue.run(wanted))
        except DrillError as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json([outcome.document() for outcome in outcomes])
        else:
            show(outcomes, console())
        if not all(outcome.passed for outcome in outcomes):
            raise Exit(1)
