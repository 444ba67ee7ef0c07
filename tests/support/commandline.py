"""Is this line a `ginkgo` command that there is, with options that it has? Found out without running it."""

from __future__ import annotations

import shlex
from functools import cache
from typing import Any

import typer

from ginkgo_site.command_tree import Branch, branches

(UsageError,) = typer.BadParameter.__bases__


@cache
def tree() -> dict[tuple[str, ...], Branch]:
    """All commands, by their path."""
    return {branch.path: branch for branch in branches()}


def parse(line: str) -> Branch:
    """The command of a line as a user types it. Raises AssertionError that says what is wrong with the line."""
    words = shlex.split(line, comments=True)
    while words and "=" in words[0]:
        words.pop(0)
    assert words and words[0] == "ginkgo", f"not a ginkgo command: {line}"
    return parse_words(words[1:])


def parse_words(words: list[str]) -> Branch:
    """The same for the words after `ginkgo`."""
    path: tuple[str, ...] = ()
    rest = list(words)
    while rest and (*path, rest[0]) in tree():
        path += (rest.pop(0),)
    branch = tree().get(path)
    assert branch is not None and not branch.children, f"there is no command 'ginkgo {' '.join(words)}'"
    # Django's own way in: the command's parser, which knows the options of its every sub-command.
    context: Any = typer.Context
    try:
        with context(branch.click, info_name=path[-1]) as made:
            branch.click.parse_args(made, rest)
    except UsageError as error:
        raise AssertionError(f"ginkgo {' '.join(words)}: {error.format_message()}") from None
    return branch
