"""`ginkgo bench`: how fast the platform is, beside its peers, in one run (SPEC section 11)."""

from __future__ import annotations

from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Argument, Option

from ginkgo_site.bench import catalogue
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.report import show
from portfolios.console import console, print_json


class Command(TyperCommand):
    help = "Measure on servers of its own: a table of medians beside what must be reached, and peers of the same run."

    # It touches nothing of this home: neither tables nor servers.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(
        self,
        names: Annotated[
            list[str] | None, Argument(metavar="[NAME]…", help=f"Of {', '.join(catalogue.NAMES)}; by default all.")
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        wanted = list(dict.fromkeys(names or catalogue.NAMES))
        for name in wanted:
            if name not in catalogue.NAMES:
                raise CommandError(f"there is no benchmark {name!r}: one of {', '.join(catalogue.NAMES)}")
        try:
            outcomes = catalogue.run(wanted)
        except BenchError as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json([outcome.document() for outcome in outcomes])
        else:
            show(outcomes, console())
