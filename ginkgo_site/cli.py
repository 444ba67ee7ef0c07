"""The `ginkgo` command: Django's management commands, from any directory, with errors as one line."""

from __future__ import annotations

import os
import sys
from typing import Any, NoReturn


def main() -> None:
    """Run `ginkgo COMMAND …`. A bad configuration is one line on stderr and exit code 2."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    from django.core.management import execute_from_command_line

    from ginkgo_site import overrides
    from ginkgo_site.config import ConfigurationError

    if found := overrides.find(sys.argv[1:]):
        os.environ[overrides.VARIABLE] = overrides.to_environment(found)

    _set_up_commands()
    try:
        execute_from_command_line(["ginkgo", *sys.argv[1:]])
    except ConfigurationError as error:
        sys.stderr.write(f"ginkgo: {error}\n")
        sys.exit(2)


def _set_up_commands() -> None:
    """A misspelled option or sub-command is one line that names the help; django-typer prints all of that first."""
    import typer
    from django_typer.management import TyperCommand

    (usage_error,) = typer.BadParameter.__bases__
    print_help = TyperCommand.print_help

    def brief(self: TyperCommand, prog_name: str, subcommand: str, *path: str) -> None:
        error = sys.exception()
        if isinstance(error, usage_error):
            _fail(error, " ".join(("ginkgo", subcommand, *path)))
        print_help(self, prog_name, subcommand, *path)

    TyperCommand.print_help = brief  # type: ignore[method-assign]
    # Django's checks import every page and route, half a second a command; `make check` runs them.
    TyperCommand.requires_system_checks = []


def _fail(error: Any, command: str) -> NoReturn:
    message = " ".join(error.format_message().split())
    if message[-1] not in ".?!":
        message += "."
    sys.stderr.write(f"{message} See '{command} --help'.\n")
    sys.exit(2)


if __name__ == "__main__":
    main()
