"""`ginkgo components`: the strategies, risk rules and sizers there are, with their parameters."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from rich.table import Table
from rich.text import Text
from typer import Argument, Option

from portfolios.console import console, print_json, print_table
from portfolios.kernel import registry
from portfolios.kernel.registry import ComponentInfo, ParamInfo


class Command(TyperCommand):
    help = "The strategies, risk rules and sizers there are, with their parameters."
    requires_system_checks = []

    def handle(
        self,
        name: Annotated[
            str | None, Argument(help="One component: its name, or a path like my_module:MyStrategy.")
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        if name is None:
            found = registry.describe()
            if as_json:
                return print_json(msgspec.to_builtins(found))
            return print_table("", ("Kind", "Name", "What it does"), [(c.kind, c.name, c.doc) for c in found])
        try:
            component = registry.describe_one(name)
        except registry.UnknownComponent as error:
            raise CommandError(f"{error}: see 'ginkgo components'") from None
        if as_json:
            return print_json(msgspec.to_builtins(component))
        return _print(component)


def _print(component: ComponentInfo) -> None:
    console().print(
        f"[bold]{component.name}[/], a {component.kind} ({component.path})\n{component.doc}\n", highlight=False
    )
    if not component.params:
        return console().print("It takes no parameters.")
    table = Table(box=None, pad_edge=False, header_style="dim")
    table.add_column("parameter", no_wrap=True)
    for column in ("type", "default", "allowed", "meaning"):
        table.add_column(column, overflow="fold")
    for param in component.params:
        default = "required" if param.required else _value(param.default)
        table.add_row(param.name, param.type, default, _range(param), Text(_doc(param)))
    return console().print(table)


def _doc(param: ParamInfo) -> str:
    return f"{param.doc} ({param.unit})" if param.unit else param.doc


def _range(param: ParamInfo) -> str:
    if param.choices:
        return ", ".join(map(str, param.choices))
    bounds = (
        ("≥", param.minimum),
        (">", param.exclusive_minimum),
        ("≤", param.maximum),
        ("<", param.exclusive_maximum),
    )
    return ", ".join(f"{sign} {bound:g}" for sign, bound in bounds if bound is not None)


def _value(value: Any) -> str:
    return "none" if value is None else str(value)
