"""How a command ends: the exit codes, all of them, and the one way to ask before something that cannot be taken back.

0    done
1    not done: it was refused, it failed, or a server did not answer; one line on stderr says why
2    not understood: an unknown command or option, or a configuration that cannot be used
130  interrupted by Ctrl-C (a long-running command that stops in order upon it ends with 0)
"""

from __future__ import annotations

import sys

import typer
from django.core.management.base import CommandError

DONE = 0
FAILED = 1
NOT_UNDERSTOOD = 2
INTERRUPTED = 130


def ask(question: str, yes: bool, *, outright: bool = False) -> None:
    """Return if `yes` or whoever sits there says so; else nothing is done, with FAILED.

    Where nobody can answer, a script means what it says, and a button pressed in an emergency must not be refused; but
    what is about real money or cannot be undone must be said `outright`, by `--yes`.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        if outright:
            raise CommandError(f"{question} Say --yes to do it without being asked.")
        return
    if not typer.confirm(question, err=True):
        sys.stderr.write("Nothing was changed.\n")
        raise typer.Exit(FAILED)
