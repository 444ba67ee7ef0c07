"""Who is told of alerts, over HTTP: everybody's own channels and rules, addresses that never come out, outcomes."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.auth.models import User

from alerts import channels
from alerts.models import Channel, Notification, Rule
from portfolios.models import AuditEntry
from tests.api import callers
from tests.api.callers import Caller
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

URL = "jsons://hooks.example.com/a-secret-path"


@pytest.fixture
def owner() -> User:
    return callers.user("owner", "trader")


@pytest.fixture
def api(owner: User) -> Caller:
    return callers.by_token(owner)


def made(api: Caller, kind: str, **body: Any) -> Any:
    answer = api.post(f"/api/alerts/{kind}", body)
    assert answer.status_code == 201, answer.json()
    assert answer.headers["Location"].endswith(f"/api/alerts/{kind}/{answer.json()['id']}")
    return answer.json()


def test_an_address_goes_in_and_never_comes_out(api: Caller) -> None:
    channel = made(api, "channels", name="desk", url=URL)
    assert channel["address"] == "jsons://hooks.example.com/…"
    row = Channel.objects.get()
    assert channels.reveal(row) == URL
    there = f"/api/alerts/channels/{channel['id']}"
    said = [api.get(path).content.decode() for path in (there, "/api/alerts/channels")]
    said.append(api("PATCH", there, {"url": URL + "2"}).content.decode())
    said += [str(entry.changes) for entry in AuditEntry.objects.all()]
    assert AuditEntry.objects.count() == 2 and not any("secret" in each for each in said)
    row.refresh_from_db()
    assert channels.reveal(row) == URL + "2"


def test_a_channel_is_changed_and_removed(api: Caller) -> None:
    channel = made(api, "channels", name="desk", url=URL)
    there = f"/api/alerts/channels/{channel['id']}"
    assert api("PATCH", there, {"enabled": False}).json() == {**channel, "enabled": False}
    assert channels.reveal(Channel.objects.get()) == URL
    assert api("DELETE", there).status_code == 204
    assert api.get(there).json()["code"] == "NOT_FOUND"


def test_a_rule_is_made_changed_and_removed(api: Caller, owner: User) -> None:
    channel = made(api, "channels", name="desk", url=URL)
    portfolio = books.portfolio("Mine", owner, ran=False)
    rule = made(
        api,
        "rules",
        name="at night",
        severity="critical",
        types=["queue_full", "data_*"],
        channels=[channel["id"]],
        portfolios=[portfolio.pk],
        quiet_from="22:00",
        quiet_until="07:00",
        time_zone="Asia/Shanghai",
    )
    assert (rule["min_interval"], rule["critical_passes"], rule["sources"]) == (60, True, [])
    row = Rule.objects.get()
    assert (row.types, str(row.time_zone)) == ("queue_full, data_*", "Asia/Shanghai")
    assert [each.pk for each in row.channels.all()] == [channel["id"]]
    there = f"/api/alerts/rules/{rule['id']}"
    changed = api("PATCH", there, {"portfolios": [], "quiet_from": None, "quiet_until": None}).json()
    assert changed == {**rule, "portfolios": [], "quiet_from": None, "quiet_until": None}
    assert api.get("/api/alerts/rules").json()["results"] == [changed]
    assert AuditEntry.objects.get(action="alert_rule.change").changes["portfolios"] == [[portfolio.pk], []]
    assert api("DELETE", there).status_code == 204
    assert not Rule.objects.exists()


@pytest.mark.parametrize(
    ("kind", "body", "status"),
    [
        ("channels", {"name": "desk"}, 400),
        ("channels", {"name": "desk", "url": "no address"}, 400),
        ("channels", {"name": "desk", "url": "nonsense://x"}, 400),
        ("channels", {"name": "taken", "url": URL}, 409),
        ("rules", {}, 400),
        ("rules", {"name": "taken"}, 409),
        ("rules", {"name": "r", "severity": "loud"}, 400),
        ("rules", {"name": "r", "types": ["a, b"]}, 400),
        ("rules", {"name": "r", "types": ["x" * 100] * 6}, 400),
        ("rules", {"name": "r", "quiet_from": "22:00"}, 400),
        ("rules", {"name": "r", "quiet_from": "25:00", "quiet_until": "07:00"}, 400),
        ("rules", {"name": "r", "time_zone": "Mars/Base"}, 400),
        ("rules", {"name": "r", "channels": [999]}, 400),
        ("rules", {"name": "r", "portfolios": ["nobody's"]}, 400),
        ("rules", {"name": "r", "min_interval": 0}, 400),
    ],
)
def test_what_does_not_hold_is_refused(api: Caller, owner: User, kind: str, body: Any, status: int) -> None:
    Channel.objects.create(user=owner, name="taken", secret="x", shown="…")
    Rule.objects.create(user=owner, name="taken")
    answer = api.post(f"/api/alerts/{kind}", body)
    assert answer.status_code == status, answer.json()
    assert (Channel.objects.count(), Rule.objects.count()) == (1, 1)
    assert not AuditEntry.objects.exists()


def test_nobody_uses_anothers_channel_or_portfolio_not_even_staff(api: Caller, owner: User) -> None:
    theirs = Channel.objects.create(user=callers.user("other"), name="theirs", secret="x", shown="…")
    portfolio = books.portfolio("Theirs", theirs.user, ran=False)
    staff = callers.by_token(callers.user("staff", is_staff=True))
    for caller in (api, staff):
        answer = caller.post("/api/alerts/rules", {"name": "r", "channels": [theirs.pk]})
        assert answer.json()["details"]["faults"][0]["path"] == "channels"
        assert caller.get(f"/api/alerts/channels/{theirs.pk}").status_code == 404
    answer = api.post("/api/alerts/rules", {"name": "r", "portfolios": [portfolio.pk]})
    assert answer.json()["details"]["faults"][0]["path"] == "portfolios"
    assert staff.post("/api/alerts/rules", {"name": "r", "portfolios": [portfolio.pk]}).status_code == 201


def test_notifications_are_read_with_their_outcomes(api: Caller, owner: User) -> None:
    common = {"user": owner, "channel_name": "desk", "severity": "info", "is_test": True, "created_at": books.NOW}
    Notification.objects.create(outcome="sent", sent_at=books.NOW, **common)
    failed = Notification.objects.create(outcome="failed", reason="no route to host", attempts=8, **common)
    assert api.get("/api/alerts/notifications").json()["count"] == 2
    (found,) = api.get("/api/alerts/notifications?outcome=failed").json()["results"]
    assert (found["id"], found["reason"], found["attempts"], found["title"]) == (
        failed.pk,
        "no route to host",
        8,
        "test",
    )
    assert api.get(f"/api/alerts/notifications/{failed.pk}").json() == found


@pytest.mark.parametrize("key", ["99999999999999999999999999", "0", "x"])
def test_a_key_that_cannot_be_is_not_found(api: Caller, key: str) -> None:
    for kind in ("channels", "rules", "notifications"):
        assert api.get(f"/api/alerts/{kind}/{key}").json()["code"] == "NOT_FOUND"
