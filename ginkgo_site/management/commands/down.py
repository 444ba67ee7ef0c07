"""`ginkgo down`: stop what runs in this home, and wait until it is gone."""

from __future__ import annotations

import sys
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Option

from ginkgo_site.stack.errors import StackError
from ginkgo_site.stack.report import print_json
from ginkgo_site.stack.stopping import stop_running


class Command(TyperCommand):
    help = (
        "Stop what `ginkgo up --detach` or `ginkgo stack start` runs in this home, in order, and wait until it is gone."
    )
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        try:
            stopped = stop_running(settings.GINKGO.home, _say)
        except StackError as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json({"stopped": stopped})
        else:
            _say("stopped" if stopped else f"nothing runs in {settings.GINKGO.home}")


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
