"""Every `ginkgo` command with its options, as the code declares them: what completion offers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from ginkgo_site import overview

# Django's, at each command of one word: for developers.
_DJANGO = frozenset(
    ("version", "settings", "pythonpath", "traceback", "show_locals", "no_color", "force_color", "skip_checks")
)


@dataclass(frozen=True)
class Word:
    """One option, under all of its names. `takes`: its value, as the help shows it; empty for a switch."""

    names: tuple[str, ...]
    help: str
    takes: str = ""
    is_file: bool = False


@dataclass(frozen=True)
class Branch:
    """A command at `path`; a group has `children`, names with their help, and no options of interest."""

    path: tuple[str, ...]
    help: str
    children: dict[str, str]
    options: tuple[Word, ...]
    click: Any


def branches() -> Iterator[Branch]:
    """All of ours, each group before what is in it. Imports every command: a second or two."""
    from django.core.management import get_commands, load_command_class
    from django_typer.management import TyperCommand

    apps = get_commands()
    for name in overview.names():
        command = load_command_class(apps[name], name)
        assert isinstance(command, TyperCommand)
        yield from _walk((name,), command.command_tree.click_command)


def _walk(path: tuple[str, ...], click: Any) -> Iterator[Branch]:
    inner = dict(getattr(click, "commands", {}))
    shown = [p for p in click.params if p.param_type_name == "option" and not p.hidden]
    options = tuple(_word(option) for option in shown if option.name not in _DJANGO)
    yield Branch(path, _first_line(click.help), {n: _first_line(c.help) for n, c in inner.items()}, options, click)
    for name, child in inner.items():
        yield from _walk((*path, name), child)


def _word(option: Any) -> Word:
    names = (*option.opts, *option.secondary_opts)
    takes = "" if option.is_flag else (option.metavar or option.type.name.upper())
    return Word(names, _first_line(option.help), takes, option.type.name == "path")


def _first_line(text: str | None) -> str:
    return " ".join((text or "").strip().split("\n\n")[0].split())
