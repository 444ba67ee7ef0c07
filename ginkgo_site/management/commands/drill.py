"""`ginkgo drill`: failures on purpose, on a cluster of real processes of its own (SPEC section 11)."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Argument, Exit, Option

from ginkgo_site.drill import chaos
from ginkgo_site.drill.drills import DRILLS
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.report import show
from ginkgo_site.drill.results import Results
from portfolios.console import console, print_json


class Command(TyperCommand):
    help = "Kill, freeze and cut off a cluster of its own while orders flow, and judge what became of them."

    # It touches nothing of this home: neither tables nor servers.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(
        self,
        names: Annotated[
            list[str] | None,
            Argument(metavar="[NAME]…", help=f"Of {', '.join(DRILLS)}; by default all. Or chaos: random failures."),
        ] = None,
        minutes: Annotated[float, Option("--minutes", help="chaos: how long, for each seed.", min=0.1)] = 3.0,
        seed: Annotated[int, Option("--seed", help="chaos: the first seed. A seed decides what happens when.")] = 1,
        seeds: Annotated[int, Option("--seeds", help="chaos: how many, one after the other.", min=1)] = 1,
        results: Annotated[
            Path | None,
            Option("--results", help="A file that keeps each outcome; what it has already is not run again."),
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        wanted: list[str] = []
        for name in dict.fromkeys(names or DRILLS):
            if name == "chaos":
                wanted += [chaos.name(seed + number, minutes) for number in range(seeds)]
            elif name in DRILLS:
                wanted.append(name)
            else:
                raise CommandError(f"there is no drill {name!r}: one of {', '.join(DRILLS)}, chaos")
        try:
            outcomes = Results(results).run(wanted)
        except (DrillError, OSError) as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json([outcome.document() for outcome in outcomes])
        else:
            show(outcomes, console())
        if any(outcome.passed is False for outcome in outcomes):
            raise Exit(1)
