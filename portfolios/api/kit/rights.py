"""What a caller may do: the scopes of a user by group, of a key by its list, and whose portfolios are seen."""

from __future__ import annotations

from typing import Any, Protocol

from django.contrib.auth.models import AnonymousUser, User
from django.db.models import QuerySet
from rest_framework.permissions import BasePermission
from rest_framework.request import Request

from portfolios.api.kit.errors import PERMISSION_DENIED, ApiError
from portfolios.api_keys import OPERATE, READ, SCOPES, TRADE
from portfolios.models import ApiKey, Portfolio

_GROUPS = {
    "viewer": frozenset({READ}),
    "trader": frozenset({READ, TRADE}),
    "operator": frozenset({READ, TRADE, OPERATE}),
}


class _View(Protocol):
    def scope_of(self, method: str) -> str: ...


def scopes(user: User) -> frozenset[str]:
    """By the groups viewer, trader and operator (all of them together); an administrator has all scopes.

    Who is in none of them trades with portfolios of their own; staff in none of them operates too.
    """
    if user.is_superuser:
        return frozenset(SCOPES)
    names = {name.lower() for name in user.groups.values_list("name", flat=True)}
    named = [_GROUPS[name] for name in names & _GROUPS.keys()]
    if named:
        return frozenset().union(*named)
    return _GROUPS["operator" if user.is_staff else "trader"]


class HasScope(BasePermission):
    """Whoever is known may look; to write takes the scope that the route names."""

    def has_permission(self, request: Request, view: Any) -> bool:
        if not request.user or not request.user.is_authenticated:
            return False
        scope = view.scope_of(request.method)
        if isinstance(request.auth, ApiKey) and scope not in request.auth.scopes:
            raise ApiError(PERMISSION_DENIED, f"this API key lacks the scope {scope!r}", {"scope": scope})
        if scope != READ and scope not in scopes(request.user):
            raise ApiError(PERMISSION_DENIED, f"you lack the scope {scope!r}", {"scope": scope})
        return True


def sees_all(user: User | AnonymousUser) -> bool:
    return bool(user.is_staff)


def visible(user: User | AnonymousUser) -> QuerySet[Portfolio]:
    """The portfolios that a user knows of: staff all, others their own."""
    return Portfolio.objects.all() if sees_all(user) else Portfolio.objects.filter(owner_id=user.pk)
