"""Optimistic concurrency: a portfolio's version is its ETag; `If-Match` names the version that a writer has seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from portfolios.api.kit.errors import VERSION_CONFLICT, ApiError, invalid
from portfolios.kernel.config import Fault
from portfolios.models import Portfolio

FORM = r'^(\*|(W/)?"[0-9]{1,9}"|[0-9]{1,9})$'


def etag(version: int) -> dict[str, str]:
    """As a response's headers."""
    return {"ETag": f'"{version}"'}


def expected(request: Request, body: Mapping[str, Any]) -> int | None:
    """The version that the writer has seen, by `If-Match` or by the body's `version`; None: whatever it is."""
    given = request.META.get("HTTP_IF_MATCH")
    seen: int | None = body.get("version")
    if given is None or given == "*":
        return seen
    if not re.fullmatch(FORM, given):
        raise invalid([Fault("If-Match", 'must be an ETag as it was given, such as "3"')])
    by_header = int(re.sub(r"\D", "", given))
    if seen is not None and seen != by_header:
        raise ApiError(VERSION_CONFLICT, f"If-Match says version {by_header}, the body {seen}: give one of them")
    return by_header


def compare(portfolio: Portfolio, seen: int | None) -> None:
    """Raises ApiError (409) if the portfolio has another version than the writer has seen."""
    if seen is not None and seen != portfolio.version:
        raise ApiError(
            VERSION_CONFLICT,
            f"the portfolio is at version {portfolio.version}, not {seen}: look at the newest version first",
            {"version": portfolio.version, "seen": seen},
        )
