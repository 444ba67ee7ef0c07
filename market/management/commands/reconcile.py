"""`ginkgo reconcile`: do portfolios, fills and brokers agree about what is held?"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

from django_typer.management import TyperCommand
from typer import Exit, Option

from market.engine import status
from market.reconciliation_report import reconcile, shown
from portfolios.console import plain_errors, print_json, print_table


class Command(TyperCommand):
    help = "Do portfolios, fills and brokers agree about what is held?"
    requires_system_checks = []

    def handle(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """Each portfolio's own books against its fills and ledger, and each account's portfolios against the broker's
        books; exit code 1 if they differ."""
        with plain_errors():
            alive = status.read(datetime.now(UTC))["engine_status"] != "down"
            report = reconcile(engines=alive)
        for note in report.notes:
            self.stderr.write(note)
        if as_json:
            print_json(report.document)
        elif report.differences:
            columns = ("Of", "What", "Expected", "Actual", "Since")
            print_table("Differences", columns, shown(report.differences), right=("Expected", "Actual"))
        else:
            portfolios = sum(each["portfolios"] for each in report.brokers)
            accounts = sum(each["accounts"] for each in report.brokers)
            self.stdout.write(f"{portfolios} portfolios and {accounts} accounts compared: all books agree.")
        if report.differences:
            raise Exit(1)
