"""Writes down every write: who, from where, what changed; in the transaction that changed it, where there is one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request

from portfolios.api.kit.authentication import via
from portfolios.models import AuditEntry

NO_CHANGE: Mapping[str, tuple[Any, Any]] = {}


def record(request: Request, action: str, target: str, changes: Mapping[str, tuple[Any, Any]]) -> None:
    """`changes` is what → (before, after), empty where a wish was only repeated."""
    AuditEntry.objects.create(
        user=request.user,
        who=request.user.get_username()[:150],
        via=via(request),
        address=str(request.META.get("REMOTE_ADDR", ""))[:64],
        forwarded_for=str(request.META.get("HTTP_X_FORWARDED_FOR", ""))[:200],
        action=action,
        target=target[:100],
        changes={what: list(values) for what, values in changes.items()},
        method=str(request.method),
        path=request.path[:300],
        idempotency_key=str(request.META.get("HTTP_IDEMPOTENCY_KEY", ""))[:100],
    )
    request.audited = True
