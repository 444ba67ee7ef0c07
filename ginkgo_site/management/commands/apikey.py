"""`ginkgo apikey`: keys by which programs use the API."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, timedelta
from typing import Annotated

from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Option

from portfolios import api_keys
from portfolios.console import plain_errors, print_json, print_table
from portfolios.lookup import user_of
from portfolios.models import ApiKey

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
_PERIODS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


class Command(TyperCommand):
    help = "Keys by which programs use the API."

    @initialize()
    def init(self) -> None:
        """Keys by which programs use the API."""

    @command()
    def create(
        self,
        name: Annotated[str, Argument(help="What it is for.")] = "api",
        user: Annotated[str | None, Option("--user", help="For whom it acts; by default the administrator.")] = None,
        scope: Annotated[
            list[str] | None, Option("--scope", help="read, trade or operate. Repeatable; by default read.")
        ] = None,
        expires: Annotated[str | None, Option("--expires", help="After 12h, 90d or 4w; by default never.")] = None,
        as_json: Json = False,
    ) -> None:
        """Make a key and print it, once: it is not stored and cannot be shown again.

        Example: ginkgo apikey create prometheus --scope read --expires 52w
        """
        scopes = [one for given in scope or [api_keys.READ] for one in given.split(",")]
        with plain_errors():
            row, key = api_keys.create(name, user_of(user), scopes, datetime.now(UTC), _lifetime(expires))
        if as_json:
            return print_json({"key": key, **_facts(row, datetime.now(UTC))})
        sys.stdout.write(f"{key}\n")
        return None

    @command(name="list")
    def list_(
        self,
        user: Annotated[str | None, Option("--user", help="Only this user's.")] = None,
        as_json: Json = False,
    ) -> None:
        """All keys, by their prefixes, revoked and expired ones too."""
        now = datetime.now(UTC)
        with plain_errors():
            found = [_facts(row, now) for row in api_keys.listing(user_of(user) if user else None)]
        if as_json:
            return print_json(found)
        columns = ("prefix", "name", "owner", "scopes", "state", "last_used_at", "expires_at")
        rows = [[", ".join(v) if isinstance(v := key[c], list) else v for c in columns] for key in found]
        return print_table("API keys", ("Prefix", "Name", "User", "Scopes", "State", "Last used", "Expires"), rows)

    @command()
    def revoke(
        self, key: Annotated[str, Argument(help="Its prefix, its name, or itself.")], as_json: Json = False
    ) -> None:
        """End a key at once and for good."""
        now = datetime.now(UTC)
        with plain_errors():
            row = api_keys.revoke(key, now)
        if as_json:
            return print_json(_facts(row, now))
        sys.stdout.write(f"API key {row.prefix} ({row.name}) is revoked\n")
        return None


def _facts(row: ApiKey, now: datetime) -> dict[str, object]:
    return {
        "prefix": row.prefix,
        "name": row.name,
        "owner": row.owner.get_username(),
        "scopes": row.scopes,
        "state": row.state(now),
        "created_at": row.created_at,
        "expires_at": row.expires_at,
        "revoked_at": row.revoked_at,
        "last_used_at": row.last_used_at,
    }


def _lifetime(text: str | None) -> timedelta | None:
    if text is None:
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", text)
    if found is None:
        raise CommandError(f"--expires takes hours, days or weeks such as 12h, 90d or 4w, not {text!r}")
    return int(found[1]) * _PERIODS[found[2]]
