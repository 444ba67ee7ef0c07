"""`ginkgo top`: the status on a screen that moves."""

from __future__ import annotations

import select
import sys
import termios
import time
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Annotated

from django.db import DatabaseError
from django_typer.management import TyperCommand
from rich.console import Group, RenderableType
from rich.live import Live
from rich.text import Text
from typer import Option

from ginkgo_site import status, status_screen
from portfolios.console import console, database_trouble, plain_errors


class Command(TyperCommand):
    help = "The status on a screen that moves; q or Ctrl-C ends it."
    requires_system_checks = []

    def handle(self, every: Annotated[float, Option(min=0.1, help="Seconds between two looks.")] = 1.0) -> None:
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            with plain_errors():
                console().print(_screen())
            return
        with plain_errors():
            first = _screen()
        with Live(first, console=console(), screen=True, auto_refresh=False) as live, _single_keys():
            try:
                while not _quit_within(every):
                    live.update(_screen_or_reason(), refresh=True)
            except KeyboardInterrupt:
                return


def _screen() -> RenderableType:
    now = datetime.now(UTC)
    heading = Text.assemble(("Ginkgo Live", "bold"), f"  {now:%H:%M:%S} UTC", ("  q quits", "dim"))
    return Group(heading, "", status_screen.render(status.look(), now))


def _screen_or_reason() -> RenderableType:
    """The database may go and come back while one watches."""
    try:
        return _screen()
    except DatabaseError as error:
        return Text(database_trouble(error), style="red")


@contextmanager
def _single_keys() -> Iterator[None]:
    """Keys arrive at once and are not shown; Ctrl-C stays what it is."""
    before = termios.tcgetattr(sys.stdin)
    tty.setcbreak(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)


def _quit_within(seconds: float) -> bool:
    """Wait that long; True as soon as q is pressed or the terminal is gone. Other keys are read and forgotten."""
    deadline = time.monotonic() + seconds
    while (left := deadline - time.monotonic()) > 0:
        if select.select([sys.stdin], [], [], left)[0] and sys.stdin.read(1) in ("q", "Q", ""):
            return True
    return False
