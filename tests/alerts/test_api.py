"""`GET /api/alerts`: who sees what, by which times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.test import Client

from alerts.store import AlertStore
from tests.alerts import making
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.servers, pytest.mark.django_db]


def ask(user: User, **query: Any) -> dict[str, Any]:
    client = Client()
    client.force_login(user)
    answer = client.get("/api/alerts", query)
    assert answer.status_code == 200, answer.content
    document: dict[str, Any] = answer.json()
    return document


@pytest.fixture
def source(stack: RunningStack) -> str:
    """Four alerts of the last hour: two of ours that keep coming, one of another's portfolio, one of the platform."""
    source, now, store = f"api-{uuid4().hex[:8]}", datetime.now(UTC), AlertStore()
    given = [
        making.alert(source=source, at=now - timedelta(minutes=50), portfolio_id=f"{source}-mine"),
        making.alert(source=source, at=now - timedelta(minutes=49), portfolio_id=f"{source}-mine"),
        making.alert(source=source, at=now - timedelta(minutes=40), portfolio_id=f"{source}-theirs"),
        making.alert("node_offline", source=source, severity="critical", at=now),
    ]
    store.add(given, now)
    store.close()
    return source


def test_staff_see_all_and_others_what_is_about_their_own_portfolios(source: str) -> None:
    staff, owner = making.user(), making.user("owner", staff=False)
    making.portfolio(owner, f"{source}-mine")
    assert ask(staff, source=source)["total_count"] == 3
    mine = ask(owner, source=source)
    assert mine["total_count"] == 1
    assert mine["alerts"][0]["details"] == {"portfolio_id": f"{source}-mine"}
    assert mine["alerts"][0]["count"] == 2
    assert ask(making.user("nobody", staff=False), source=source) == {"alerts": [], "total_count": 0}


def test_times_are_rfc_3339_or_seconds(source: str) -> None:
    staff, half = making.user(), datetime.now(UTC) - timedelta(minutes=30)
    for moment in (half.isoformat().replace("+00:00", "Z"), str(int(half.timestamp()))):
        late = ask(staff, source=source, start_time=moment)
        assert [found["alert_type"] for found in late["alerts"]] == ["node_offline"]
        early = ask(staff, source=source, end_time=moment)
        assert {found["alert_type"] for found in early["alerts"]} == {"queue_full"}


def test_severity_limit_and_each(source: str) -> None:
    staff = making.user()
    assert ask(staff, source=source, severity="critical")["total_count"] == 1
    page = ask(staff, source=source, limit=1, each="true")
    assert (len(page["alerts"]), page["total_count"]) == (1, 4)
    assert set(page["alerts"][0]) >= {
        *("alert_id", "alert_type", "severity", "source", "message", "details", "timestamp"),
    }


def test_a_stranger_is_refused() -> None:
    answer = Client().get("/api/alerts")
    assert (answer.status_code, answer.json()["error"]) == (401, True)
