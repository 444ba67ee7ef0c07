"""Who asks: users with their rights, and clients that speak for them by token, key or not at all."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import Group, User
from django.test import Client
from rest_framework_simplejwt.tokens import AccessToken

from portfolios import api_keys

ALL = ("read", "trade", "operate")


@dataclass
class Caller:
    """A client of the API; `headers` say who it is."""

    headers: dict[str, str] = field(default_factory=dict)
    client: Client = field(default_factory=lambda: Client(raise_request_exception=False))

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """The response. A body is sent as JSON; further headers are named with underscores."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.client.generic(
            method,
            path,
            b"" if body is None else json.dumps(body),
            content_type="application/json",
            headers={**self.headers, **named},
        )

    def get(self, path: str, **headers: str) -> Any:
        return self("GET", path, **headers)

    def post(self, path: str, body: Any = None, **headers: str) -> Any:
        return self("POST", path, body, **headers)


def user(name: str, *groups: str, **rights: bool) -> User:
    made = User.objects.create_user(name, **rights)
    for group in groups:
        made.groups.add(Group.objects.get_or_create(name=group)[0])
    return made


def by_token(of: User) -> Caller:
    return Caller({"authorization": f"Bearer {AccessToken.for_user(of)}"})


def by_key(of: User, *scopes: str) -> Caller:
    """A key that has just been used, so that this is not noted again."""
    row, key = api_keys.create("test", of, scopes or ALL, datetime.now(UTC))
    row.last_used_at = datetime.now(UTC)
    row.save()
    return Caller({"x-api-key": key})


def nobody() -> Caller:
    return Caller()
