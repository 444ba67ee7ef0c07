"""The groups that come with the platform: what viewer, trader and operator may see and press in the admin.

The API knows the same three by their names (`portfolios.api.kit.rights`). Their permissions are made anew with every
migration and every `data init`: for rights of one's own, make a group of one's own.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.contrib.auth.models import Group, Permission
from django.db import transaction

_SEEN = (
    *("portfolios.account", "portfolios.adjustment", "portfolios.assignment", "portfolios.checkpoint"),
    *("portfolios.command", "portfolios.ledgerentry", "portfolios.portfolio", "portfolios.revision"),
    *("scheduler.node", "scheduler.plan", "scheduler.plannedmove", "scheduler.requirement"),
    *("alerts.alert", "alerts.notification"),
)
_OWN = ("alerts.channel", "alerts.rule")
"""Everybody's own; the admin shows nobody another's."""
_ALL = ("view", "add", "change", "delete")


def _every(models: Iterable[str], *rights: str) -> frozenset[str]:
    return frozenset(f"{app}.{right}_{name}" for app, name in (m.split(".") for m in models) for right in rights)


# All that the market has is seen: orders, fills, the outbox, the switch, reconciliation.
VIEWER = _every(_SEEN, "view") | _every(_OWN, *_ALL) | {"market.view_*"}
TRADER = VIEWER | {"portfolios.change_portfolio"}
OPERATOR = (
    TRADER
    | _every(("portfolios.account",), "add", "change")
    | _every(("scheduler.requirement",), *_ALL)
    | _every(("django_celery_beat.intervalschedule", "django_celery_beat.crontabschedule"), "view", "add", "change")
    | {
        *("market.change_*", "scheduler.change_node", "scheduler.delete_node"),
        *("django_celery_beat.view_periodictask", "django_celery_beat.change_periodictask"),
        *("portfolios.view_apikey", "portfolios.change_apikey", "portfolios.view_auditentry"),
    }
)
GROUPS = {"viewer": VIEWER, "trader": TRADER, "operator": OPERATOR}


def ship() -> None:
    """Make the three groups, each with exactly its permissions; groups of other names are left alone."""
    known = {
        (f"{app}.{code}"): pk
        for app, code, pk in Permission.objects.values_list("content_type__app_label", "codename", "pk")
    }
    with transaction.atomic():
        for name, wanted in GROUPS.items():
            group, _ = Group.objects.get_or_create(name=name)
            group.permissions.set(pk for code, pk in known.items() if _is_among(code, wanted))


def _is_among(code: str, wanted: frozenset[str]) -> bool:
    return code in wanted or f"{code.partition('_')[0]}_*" in wanted
