"""`ginkgo demo`: two nodes trade, one is killed, and the books agree; a few minutes, and nothing is left behind."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer
from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Option

from ginkgo_site import addresses, demo
from ginkgo_site.stack.errors import StackError
from ginkgo_site.supervisor.detach import command, environment
from portfolios import exits
from portfolios.console import plain_errors


class Command(TyperCommand):
    help = "Two nodes trade, one is killed, its portfolios go on, and the books agree. Leaves nothing behind."
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(self, here: Annotated[bool, Option("--here", hidden=True)] = False) -> None:
        given = [name for name, url in addresses.given(settings.GINKGO).items() if not url.startswith("sqlite:")]
        if given:
            raise CommandError(f"a demonstration has servers of its own; configured is: {', '.join(given)}")
        if here:
            _show()
        else:
            raise typer.Exit(_in_a_home_of_its_own())


def _show() -> None:
    try:
        with plain_errors():
            demo.show(settings.GINKGO.home, _say)
    except (StackError, demo.DemoFailed) as error:
        raise CommandError(str(error)) from None


def _in_a_home_of_its_own() -> int:
    """The configuration is read once, at a process's start: so the home is made first, and this started again in it."""
    signal.signal(signal.SIGTERM, _interrupt)
    home = Path(tempfile.mkdtemp(prefix="ginkgo-demo-"))  # a short path: the names of sockets have a limit
    env = {**environment(), **demo.QUICK, "GINKGO_HOME": str(home)}
    try:
        return subprocess.run(command("demo", "--here"), env=env, check=False).returncode
    except KeyboardInterrupt:
        return exits.INTERRUPTED
    finally:
        _say("6. Stopping, and removing it all")
        down = subprocess.run(command("down"), env=env, capture_output=True, text=True, check=False)
        if down.returncode:
            _say(f"   it is still in {home}: {down.stderr.strip()}")
        else:
            shutil.rmtree(home, ignore_errors=True)


def _interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
