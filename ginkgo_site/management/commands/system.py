"""`ginkgo system config show|set|document`: what the configuration is, where each value came from, what it may be."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, group, initialize
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from ginkgo_site import config, config_document, config_file, config_report
from ginkgo_site.config import ConfigurationError
from ginkgo_site.config_report import Setting
from portfolios.console import console, print_json

_DEBUG = "web.debug"


class Command(TyperCommand):
    help = "The configuration."
    requires_system_checks = []

    @initialize()
    def init(self) -> None:
        """The configuration."""

    @group()
    def config(self) -> None:
        """Show it with its sources, or set a value in ~/.ginkgo/config.yaml."""

    @config.command()  # type: ignore[attr-defined, untyped-decorator]
    def show(
        self,
        key: Annotated[str, Argument(help="A section or a key, like redis or redis.host.")] = "",
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        """Every setting, its value (secrets masked) and where it came from."""
        loaded, origin = config.load()
        shown = [
            s for s in config_report.settings(loaded, origin) if not key or s.key == key or s.key.startswith(f"{key}.")
        ]
        if not shown:
            raise CommandError(f"there is no setting {key!r}: see 'ginkgo system config show'")
        if as_json:
            return print_json([{"key": s.key, "value": s.value, "source": s.source} for s in shown])
        return _print(shown)

    @config.command(name="set")  # type: ignore[attr-defined, untyped-decorator]
    def set_(
        self,
        key: Annotated[str | None, Argument(help="Like node.max_portfolios.")] = None,
        value: Annotated[str | None, Argument(help="A text, number or true/false; several with commas.")] = None,
        debug: Annotated[str | None, Option("--debug", help="on or off: the same as web.debug true or false.")] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        """Write one value to ~/.ginkgo/config.yaml, after checking it. Processes read it when they start."""
        wanted: list[tuple[str, Any]] = []
        if debug is not None:
            if debug not in ("on", "off"):
                raise CommandError(f"--debug is on or off, not {debug!r}")
            wanted.append((_DEBUG, debug == "on"))
        if key is not None:
            if value is None:
                raise CommandError(f"give a value too: ginkgo system config set {key} VALUE")
            wanted.append((key, config.typed(key.split("."), value)))
        if not wanted:
            raise CommandError("nothing to set: ginkgo system config set KEY VALUE")
        done = [_write(name, new) for name, new in wanted]
        if as_json:
            return print_json(done)
        for change in done:
            sys.stdout.write(f"{change['key']} = {change['text']} in {change['file']}\n")
            if change["hidden_by"]:
                sys.stderr.write(f"but {change['hidden_by']} says otherwise, and it wins\n")
        return None

    @config.command()  # type: ignore[attr-defined, untyped-decorator]
    def document(
        self,
        output: Annotated[Path | None, Option("--output", help="A file; standard output if not given.")] = None,
    ) -> None:
        """Every setting with its type, default, variable and meaning, in Markdown: docs/configuration.md."""
        text = config_document.document()
        if output is None:
            sys.stdout.write(text)
            return
        try:
            output.write_text(text, encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{output}: {error.strerror}") from None


def _print(shown: list[Setting]) -> None:
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("setting", no_wrap=True)
    table.add_column("value", overflow="fold")
    table.add_column("source", overflow="fold")
    for setting in shown:
        source = setting.source.replace(str(Path.home()), "~", 1)
        style = "dim" if source == "default" else ""
        table.add_row(setting.key, Text(setting.text), Text(source, style=style))
    console().print(table)


def _write(key: str, value: Any) -> dict[str, Any]:
    """Check the value as the whole configuration with it, then write it."""
    path = config_file.folder(os.environ) / "config.yaml"
    try:
        checked, _ = config.load({key: value})
    except ConfigurationError as error:
        raise CommandError(str(error).replace(" (command line)", "")) from None
    try:
        config_file.write_value(path, key.split("."), value)
        _, origin = config.load()
    except (OSError, ConfigurationError) as error:
        raise CommandError(f"{path} was not written: {error}") from None
    mine = next(s for s in config_report.settings(checked, {}) if s.key == key or s.key.startswith(f"{key}."))
    source = origin.get(key, "default")
    return {
        "key": key,
        "value": mine.value,
        "text": mine.text,
        "file": str(path),
        "hidden_by": None if source == str(path) else source,
    }
