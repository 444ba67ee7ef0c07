"""`ginkgo parity`: did portfolios do live what a backtest on the recorded stream does?"""

from __future__ import annotations

from datetime import date
from pathlib import Path
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from typer import Argument, Exit, Option

from market import parity
from market.parity import Comparison
from portfolios import services
from portfolios.backtest.recorded import is_recorded
from portfolios.console import plain_errors, print_json, print_table

_SHOWN = 10


class Command(TyperCommand):
    help = "Did portfolios do live what a backtest on the recorded stream does?"

    def handle(
        self,
        portfolios: Annotated[list[str], Argument(help="Portfolios, by id, the beginning of it, or name.")],
        data: Annotated[Path, Option("--data", help="The stream, as 'ginkgo feed record' wrote it.")],
        start_date: Annotated[
            str | None,
            Option(
                "--start-date", help="The first day they traded, YYYY-MM-DD; what is recorded before warms them up."
            ),
        ] = None,
        output: Annotated[
            Path | None,
            Option("--output", help="Write ID.live.txt and ID.backtest.txt into this directory, for a diff."),
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout: a list.")] = False,
    ) -> None:
        """Compares orders, cancels, fills and answers, ids and times included; exit code 1 if they differ."""
        if not is_recorded(data):
            raise CommandError(f"{data}: not a recorded stream: make one with 'ginkgo feed record {data}'")
        home = settings.GINKGO.home
        with plain_errors():
            start = _day(start_date)
            compared = [parity.compare(services.find(each), data, home, start) for each in portfolios]
        for each in compared:
            if output is not None:
                output.mkdir(parents=True, exist_ok=True)
                (output / f"{each.portfolio_id}.live.txt").write_bytes(each.live.document())
                (output / f"{each.portfolio_id}.backtest.txt").write_bytes(each.backtest.document())
            if not as_json:
                self._show(each)
        if as_json:
            print_json([each.summary() for each in compared])
        if any(each.differences for each in compared):
            raise Exit(1)

    def _show(self, compared: Comparison) -> None:
        live, backtest = compared.live.counts, compared.backtest.counts
        title = f"{compared.name}: {'different' if compared.differences else 'identical'}"
        rows = [(kind, count, backtest[kind]) for kind, count in live.items()]
        print_table(title, ("", "Live", "Backtest"), rows, right=("Live", "Backtest"))
        if compared.refused:
            self.stdout.write(f"{compared.refused} orders that the engine refused were refused in the backtest too")
        for each in compared.differences[:_SHOWN]:
            self.stdout.write(f"{each.kind}, only {each.only}: {each.line}")
        if len(compared.differences) > _SHOWN:
            self.stdout.write(f"... and {len(compared.differences) - _SHOWN} more (--output DIR writes all)")


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise CommandError(f"--start-date must be a day such as 2024-12-31, got {text!r}") from None
