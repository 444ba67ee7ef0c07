"""Alerts, users, channels and rules for tests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from django.contrib.auth.models import User

from alerts import channels
from alerts.models import Channel, Rule
from market.messages import Alert
from portfolios.models import Portfolio

NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)


def alert(
    alert_type: str = "queue_full",
    source: str = "node-1",
    severity: Any = "warning",
    at: datetime = NOON,
    message: str = "the queue is full",
    **details: Any,
) -> Alert:
    return Alert(
        timestamp=at, alert_id=str(uuid4()), alert_type=alert_type, severity=severity, source=source, message=message,
        details=details,
    )  # fmt: skip


def user(name: str = "ops", staff: bool = True) -> User:
    return User.objects.create_user(name, is_staff=staff)


def portfolio(owner: User, name: str) -> Portfolio:
    return Portfolio.objects.create(id=name, name=name, owner=owner, initial_cash=1, config={"codes": ["600519.SH"]})


def channel(owner: User, url: str = "json://127.0.0.1:1/hook", name: str = "hook") -> Channel:
    secret, shown = channels.seal(url)
    return Channel.objects.create(user=owner, name=name, secret=secret, shown=shown)


def rule(owner: User, *ways: Channel, since: datetime = NOON - timedelta(days=1), **values: Any) -> Rule:
    made = Rule.objects.create(user=owner, **{"name": "all", "severity": "info", **values})
    made.channels.set(ways)
    Rule.objects.filter(pk=made.pk).update(created_at=since)
    made.refresh_from_db()
    return made
