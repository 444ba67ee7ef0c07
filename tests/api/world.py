"""A platform with something of everything, and every route of its description as a request to it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

from django.contrib.auth.models import User
from django.core import serializers
from drf_spectacular.generators import SchemaGenerator

from alerts.models import Channel, Notification, Rule
from market.models import EngineSwitch, Order
from portfolios import services
from portfolios.models import (
    Adjustment,
    Assignment,
    AuditEntry,
    Checkpoint,
    Command,
    IdempotencyRecord,
    Portfolio,
    Revision,
)
from scheduler.models import Node, PlannedMove
from tests.ginkgo_site import books

NODE = "node-1"
ALERTING: tuple[Any, ...] = (Channel, Rule, Notification)
OWN = ("{channel_id}", "{rule_id}", "{notification_id}")
OPEN = {"root", "schema", "health", "token_create", "token_refresh"}


@dataclass(frozen=True)
class Request:
    """One route: how to ask it, and what it needs."""

    operation: str
    method: str
    path: str
    scope: str
    body: Any = None

    @property
    def of_one_portfolio(self) -> bool:
        return "/api/portfolio/{portfolio_id}" in self.template or self.operation == "schedule_migrate"

    @property
    def of_somebody(self) -> bool:
        """Whether it is about one thing that is somebody's."""
        return self.of_one_portfolio or any(name in self.template for name in OWN)

    template: str = ""


@cache
def description() -> dict[str, Any]:
    return SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-any-return, no-untyped-call]


def requests(portfolio: Portfolio, command: Command) -> Iterator[Request]:
    """Every route there is, asked about these."""
    ids = {
        **{"portfolio_id": portfolio.id, "node_id": NODE, "command_id": command.pk},
        **{f"{model.__name__.lower()}_id": model._default_manager.earliest("pk").pk for model in ALERTING},
    }
    for template, methods in description()["paths"].items():
        for method, operation in methods.items():
            name = operation["operationId"]
            scope = operation["description"].rpartition("Scope: `")[2].partition("`")[0]
            yield Request(
                name, method.upper(), template.format(**ids), scope, _bodies(portfolio).get(name), template=template
            )


def _bodies(portfolio: Portfolio) -> dict[str, Any]:
    config = books.SAMPLES[0].config()
    slower = {"strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 7, "long_period": 70}}}
    return {
        "token_create": {"username": "root", "password": "x"},
        "token_refresh": {"refresh": "x"},
        "portfolio_create": {"name": "Another", "initial_cash": 1000, "config": config},
        "portfolio_update": {"config": slower},
        "portfolio_change": {"name": "Renamed"},
        "portfolio_import": services.export_portfolio(portfolio.id),
        "portfolio_start": {},
        "portfolio_deposit": {"amount": 100, "reason": "a gift"},
        "portfolio_withdraw": {"amount": "10.5", "reason": "rent"},
        "portfolio_correct": {"code": "600519.SH", "volume": 100, "price": 1500.5, "reason": "a transfer"},
        "alert_channel_create": {"name": "another", "url": "jsons://example.com/secret-path"},
        "alert_channel_change": {"enabled": False},
        "alert_rule_create": {"name": "another", "severity": "critical"},
        "alert_rule_change": {"types": ["data_*"]},
        "portfolio_rollback": {"to_version": 1},
        "schedule_migrate": {"portfolio_id": portfolio.id, "target_node": "node-2"},
    }


def populated(owner: User) -> tuple[Portfolio, Command]:
    """A portfolio of `owner`'s with orders, who is told of its alerts, and two nodes."""
    portfolio = books.portfolio("First", owner)
    for number in (1, 2):
        books.order(portfolio, number)
    Node.objects.create(node_id=NODE, state="online", max_portfolios=5)
    Node.objects.create(node_id="node-2", state="online", max_portfolios=5)
    channel = Channel.objects.create(user=owner, name="mail", secret="x", shown="mailtos://example.com/…")
    rule = Rule.objects.create(user=owner, name="all")
    rule.channels.add(channel)
    rule.portfolios.add(portfolio)
    Notification.objects.create(
        user=owner, rule=rule, channel=channel, channel_name="mail", severity="info", is_test=True, created_at=books.NOW
    )
    return portfolio, books.command(portfolio)


def contents() -> str:
    """All that a write could change, as text."""
    models: list[Any] = [
        *(Portfolio, Revision, Assignment, Checkpoint, EngineSwitch, Node, PlannedMove, Command, Order),
        *(AuditEntry, IdempotencyRecord, User, Adjustment, *ALERTING),
    ]
    return "\n".join(serializers.serialize("json", model.objects.order_by("pk")) for model in models)
