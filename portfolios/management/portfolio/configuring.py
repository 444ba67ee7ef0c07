"""`ginkgo portfolio update|rollback|revisions|diff`: its configuration in its versions."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from django_typer.management import TyperCommand, command
from typer import Argument, Option

from portfolios import services
from portfolios.console import plain_errors, print_json, print_table
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.management.options import config_of
from portfolios.management.portfolio.words import Json, Which, Who, author_of, say


class Configuring(TyperCommand):
    @command()
    def update(
        self,
        portfolio: Which,
        config: Annotated[Path | None, Option("--config", help="A file with the whole configuration (JSON).")] = None,
        strategy: Annotated[str | None, Option("--strategy", help="Another strategy.")] = None,
        param: Annotated[list[str] | None, Option("--param", help="A strategy's parameter, k=v. Repeatable.")] = None,
        risk: Annotated[list[str] | None, Option("--risk", help="All risk rules, NAME:k=v,k=v. Repeatable.")] = None,
        sizer: Annotated[str | None, Option("--sizer", help="Another sizer, NAME:k=v,k=v.")] = None,
        codes: Annotated[list[str] | None, Option("--codes", help="All codes, separated by commas.")] = None,
        policy: Annotated[list[str] | None, Option("--policy", help="A policy, k=v. Repeatable.")] = None,
        expected_version: Annotated[int | None, Option("--expected-version", help="Refuse if it is newer.")] = None,
        user: Who = None,
        as_json: Json = False,
    ) -> None:
        """Change its configuration: a new version. What is not given stays as it is."""
        with plain_errors():
            found = services.find(portfolio)
            wanted = config_of(
                config, strategy, param or [], risk or [], sizer, codes or [], policy or [], base=found.config
            )
            changed = services.update_config(found.id, wanted, author_of(user), expected_version=expected_version)
            say(changed, f"is at version {changed.version}", as_json)

    @command()
    def rollback(
        self,
        portfolio: Which,
        # Not `version`: that is an option of every Django command.
        number: Annotated[int | None, Argument(metavar="VERSION", help="The version to restore.")] = None,
        to: Annotated[int | None, Option("--to", metavar="VERSION", help="The same.")] = None,
        user: Who = None,
        as_json: Json = False,
    ) -> None:
        """Restore an old version of its configuration as the newest."""
        with plain_errors():
            wanted = to if number is None else number
            if wanted is None or (to is not None and to != wanted):
                raise InvalidConfig([Fault("--to", "is needed, once: the version to restore")])
            changed = services.rollback(services.find(portfolio).id, wanted, author_of(user))
            say(changed, f"is at version {changed.version}", as_json)

    @command()
    def revisions(self, portfolio: Which, as_json: Json = False) -> None:
        """All versions of its configuration: who, when, what."""
        with plain_errors():
            found = [
                {
                    "version": r.version,
                    "author": r.author.get_username() if r.author else None,
                    "created_at": r.created_at,
                    "change": r.change,
                }
                for r in services.revisions(services.find(portfolio).id)
            ]
        if as_json:
            return print_json(found)
        return print_table(portfolio, ("Version", "Who", "When", "What"), [tuple(r.values()) for r in found])

    @command()
    def diff(
        self,
        portfolio: Which,
        before: Annotated[int | None, Argument(metavar="BEFORE", help="A version; the last but one.")] = None,
        after: Annotated[int | None, Argument(metavar="AFTER", help="A later version; the newest.")] = None,
        as_json: Json = False,
    ) -> None:
        """What two versions of its configuration differ in, path by path."""
        with plain_errors():
            found = services.find(portfolio)
            new = found.version if after is None else after
            old = max(1, new - 1) if before is None else before
            changes = services.diff(found.id, old, new)
        if as_json:
            return print_json([change._asdict() for change in changes])
        title = f"{found.name}: version {old} → {new}"
        return print_table(title, ("Path", "Before", "After"), [(c.path, c.before, c.after) for c in changes])
