"""`ginkgo data`: prepare an installation, and put sample portfolios into it."""

from __future__ import annotations

import sys
from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from ginkgo_site.installation.initialise import initialise
from ginkgo_site.installation.seed import seed
from market.bus import KafkaUnavailable
from portfolios.console import plain_errors, print_json

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]


class Command(TyperCommand):
    help = "Prepare an installation: tables, topics, administrator, sample portfolios."
    requires_system_checks = []

    @initialize()
    def init_group(self) -> None:
        """Prepare an installation: tables, topics, administrator, sample portfolios."""

    @command()
    def init(self, as_json: Json = False) -> None:
        """Tables, topics and the first administrator, whose password is shown once. Can be repeated."""
        with plain_errors():
            try:
                done = initialise()
            except KafkaUnavailable as error:
                raise CommandError(str(error)) from None
        if as_json:
            return print_json(done.as_dict())
        made = sum(state != "exists" for state in done.topics.values())
        sys.stdout.write(
            f"{done.migrations} migrations applied, {made} of {len(done.topics)} topics made or enlarged\n"
        )
        if done.admin.created:
            sys.stdout.write(f"administrator {done.admin.user}, password {done.admin.password} (shown only now)\n")
        else:
            sys.stdout.write(f"administrator {done.admin.user} exists ('ginkgo changepassword' for a new password)\n")
        return None

    @command(name="seed")
    def seed_(self, as_json: Json = False) -> None:
        """Three sample portfolios on seven real codes, owned by the administrator, wanted running. Can be repeated."""
        with plain_errors():
            portfolios = seed()
        if as_json:
            return print_json([{"id": p.id, "name": p.name, "created": created} for p, created in portfolios])
        for portfolio, created in portfolios:
            sys.stdout.write(f"{portfolio.id}  {portfolio.name}{'' if created else ' (exists)'}\n")
        return None
