"""Moments as the API takes them: RFC 3339, or seconds since 1970; always UTC inside."""

from __future__ import annotations

import re
from datetime import UTC, datetime

from portfolios.api.kit.shapes import Shape

MOMENT_IN: Shape = {
    "x-wish": "must be a moment: RFC 3339 (2026-01-04T10:00:00Z), or seconds since 1970",
    "anyOf": [
        {"type": "string", "format": "date-time"},
        {"type": "integer", "minimum": 0, "maximum": 9999999999},
        {"type": "string", "pattern": r"^[0-9]{1,10}(\.[0-9]{1,6})?$"},
    ],
}
_RFC3339 = re.compile(r"(\d{4}-\d{2}-\d{2})[Tt ](\d{2}:\d{2}:\d{2})(\.\d+)?([Zz]|[+-]\d{2}:\d{2})")


def parse(text: str) -> datetime | None:
    """An RFC 3339 moment in UTC; None if it is none."""
    found = _RFC3339.fullmatch(text)
    if found is None or not found[0].isascii():
        return None
    day, time, fraction, zone = found.groups()
    second = "59" if time.endswith(":60") else time[-2:]  # a leap second counts as the one before it
    micros = (fraction or ".0")[1:7].ljust(6, "0")
    try:
        return datetime.fromisoformat(f"{day}T{time[:-2]}{second}.{micros}{zone.upper()}").astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def moment(value: str | int) -> datetime:
    """What fits MOMENT_IN, in UTC."""
    if isinstance(value, str):
        found = parse(value)
        if found is not None:
            return found
    return datetime.fromtimestamp(float(value), UTC)
