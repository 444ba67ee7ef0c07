"""The `ginkgo` command: Django's management commands, from any directory, with errors as one line."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, NoReturn

from ginkgo_site import overview
from portfolios import exits


def main() -> None:
    """Run `ginkgo COMMAND …`; its exit codes are those of `portfolios.exits`."""
    words = sys.argv[1:]
    # As `ginkgo` in every usage line, however it was started.
    sys.argv[0] = "ginkgo"
    try:
        sys.exit(_quick(words) if _is_quick(words) else _run(words))
    except KeyboardInterrupt:
        sys.exit(exits.INTERRUPTED)
    except BrokenPipeError:
        # Whoever read has had enough (`| head`); the interpreter's own flush must not complain either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(exits.FAILED)


def _is_quick(words: Sequence[str]) -> bool:
    return not words or words in (["--help"], ["-h"], ["help"], ["--version"]) or words[0] in ("probe", *_COMPLETION)


_COMPLETION = ("--install-completion", "--show-completion")


def _quick(words: Sequence[str]) -> int:
    """What needs no Django, and answers at once."""
    if words and words[0] == "probe" and "--help" not in words:
        from ginkgo_site import probe

        return probe.main(words[1:])
    if words and words[0] in _COMPLETION:
        from ginkgo_site import completion

        return completion.main(words[0], words[1:])
    if words and words[0] == "probe":
        return _run(words)
    sys.stdout.write(f"ginkgo-live {version('ginkgo-live')}\n" if words == ["--version"] else overview.text())
    return exits.DONE


def _run(words: Sequence[str]) -> int:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    gc.disable()  # while modules are loaded there is nothing to collect, and looking for it takes a tenth of the time
    from django.core.management import ManagementUtility, get_commands

    from ginkgo_site import overrides
    from ginkgo_site.config import ConfigurationError

    class Utility(ManagementUtility):
        def fetch_command(self, subcommand: str) -> Any:
            if subcommand not in (known := get_commands()):
                near = get_close_matches(subcommand, known, 1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                sys.stderr.write(f"No such command {subcommand!r}.{hint} See 'ginkgo --help'.\n")
                sys.exit(exits.NOT_UNDERSTOOD)
            command = super().fetch_command(subcommand)
            # All is loaded and stays: what is collected from now on is what the command itself leaves.
            gc.freeze()
            gc.enable()
            return command

    if found := overrides.find(words):
        os.environ[overrides.VARIABLE] = overrides.to_environment(found)
    set_up_commands()
    try:
        Utility(["ginkgo", *words]).execute()
    except ConfigurationError as error:
        sys.stderr.write(f"ginkgo: {error}\n")
        return exits.NOT_UNDERSTOOD
    return exits.DONE


def set_up_commands() -> None:
    """A misspelled option is one line that names the help, what fails is one line; every help ends with examples."""
    import typer
    from django.core.management import CommandError
    from django_typer.management import TyperCommand
    from typer import rich_utils

    (usage_error,) = typer.BadParameter.__bases__
    print_help = TyperCommand.print_help
    format_help = rich_utils.rich_format_help
    execute: Any = TyperCommand.execute

    def brief(self: TyperCommand, prog_name: str, subcommand: str, *path: str) -> None:
        error = sys.exception()
        if isinstance(error, usage_error):
            _fail(error, " ".join(("ginkgo", subcommand, *path)))
        print_help(self, prog_name, subcommand, *path)

    def said(self: TyperCommand, *args: Any, **options: Any) -> Any:
        try:
            return execute(self, *args, **options)
        except CommandError as error:
            if not self._called_from_command_line or options.get("traceback"):
                raise
            self.stderr.write(f"ginkgo: {error}")
            sys.exit(error.returncode)

    def with_examples(*, obj: Any, ctx: Any, markup_mode: Any) -> None:
        # Else it is called as this very process was, by whatever path.
        root = ctx.find_root()
        root.info_name = "ginkgo " + (root.info_name or "").rpartition(" ")[2]
        format_help(obj=obj, ctx=ctx, markup_mode=markup_mode)
        _show_examples(ctx.command_path.removeprefix("ginkgo "))

    TyperCommand.print_help = brief  # type: ignore[method-assign]
    TyperCommand.execute = said  # type: ignore[method-assign]
    rich_utils.rich_format_help = with_examples
    # Django's checks import every page and route, half a second a command; `make check` runs them.
    TyperCommand.requires_system_checks = []


def _show_examples(path: str) -> None:
    """As they are typed: neither framed nor wrapped, so that they can be copied."""
    from ginkgo_site import examples

    if found := examples.of(path):
        lines = [f"   {line}" for example in found for line in example.splitlines()]
        sys.stdout.write("\n".join([" Examples:", "", *lines, "", ""]))


def _fail(error: Any, command: str) -> NoReturn:
    message = " ".join(error.format_message().split())
    if message[-1] not in ".?!":
        message += "."
    sys.stderr.write(f"{message} See '{command} --help'.\n")
    sys.exit(exits.NOT_UNDERSTOOD)


if __name__ == "__main__":
    main()
