"""What channels and rules share: they are the caller's own, and no two of them have one name."""

from __future__ import annotations

from alerts.models import Channel, Rule
from portfolios.api.kit.errors import NOT_FOUND, ApiError
from portfolios.errors import Conflict


def missing(what: str, key: int) -> ApiError:
    return ApiError(NOT_FOUND, f"there is no {what} {key}, or it is somebody else's")


def unique(row: Channel | Rule, name: str) -> None:
    """Raises Conflict where another of the same user's has this name."""
    others = type(row)._default_manager.filter(user_id=row.user_id, name=name).exclude(pk=row.pk)
    if others.exists():
        raise Conflict(f"you have a {row._meta.verbose_name} of the name {name!r} already")
