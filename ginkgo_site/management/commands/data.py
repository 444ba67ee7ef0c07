"""`ginkgo data`: prepare an installation, and put sample portfolios into it."""

from __future__ import annotations

import sys
from typing import Annotated

import redis
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from ginkgo_site.installation.initialise import initialise
from ginkgo_site.installation.restored import after_restore
from ginkgo_site.installation.seed import seed
from market.bus import KafkaUnavailable
from portfolios import exits
from portfolios.console import plain_errors, print_json
from portfolios.livestate import RedisUnavailable

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
        if done.admin.created and done.admin.password is None:
            sys.stdout.write(f"administrator {done.admin.user}, with the password of web.admin_password\n")
        elif done.admin.created:
            sys.stdout.write(f"administrator {done.admin.user}, password {done.admin.password} (shown only now)\n")
        else:
            sys.stdout.write(f"administrator {done.admin.user} exists ('ginkgo changepassword' for a new password)\n")
        return None

    @command()
    def restored(
        self,
        yes: Annotated[bool, Option("--yes", "-y", help="Do not ask.")] = False,
        as_json: Json = False,
    ) -> None:
        """After the database was restored from a back-up, before any process starts: see docs/operations.md.

        Stops every portfolio and the engines' trading, and passes over what the log has of the time since the back-up.
        """
        question = "Stop every portfolio and all trading, and pass over what happened since the back-up?"
        exits.ask(question, yes, outright=True)
        with plain_errors():
            try:
                done = after_restore()
            except (KafkaUnavailable, RedisUnavailable, redis.RedisError) as error:
                raise CommandError(str(error)) from None
        if as_json:
            return print_json(done.as_dict())
        sys.stdout.write(
            f"{done.portfolios} portfolios will begin at the live end; {done.passed_over} orders in the log are passed "
            "over; trading is off\n"
        )
        for name, portfolio_id in done.stopped:
            sys.stdout.write(f"stopped: {portfolio_id}  {name}\n")
        sys.stdout.write("compare the books with the broker's, then: ginkgo engine start, ginkgo portfolio start …\n")
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
