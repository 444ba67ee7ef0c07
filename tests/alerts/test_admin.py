"""The admin's pages of alerting: they open in few queries, show no secret, and each sees their own."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from alerts import channels, delivery, notify
from alerts.models import Channel, Notification, Rule
from alerts.store import AlertStore
from ginkgo_site.addresses import resolve
from tests.alerts import making, servers
from tests.alerts.making import alert
from tests.support.stack import RunningStack

pytestmark = pytest.mark.django_db


@pytest.fixture
def root() -> User:
    return User.objects.create_superuser("root")


@pytest.fixture
def browser(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def changelist(model: str) -> str:
    return reverse(f"admin:alerts_{model}_changelist")


def page(row: Any) -> str:
    return reverse(f"admin:alerts_{row._meta.model_name}_change", args=[row.pk])


def text_of(answer: Any) -> str:
    assert answer.status_code == 200, (answer.status_code, answer.get("Location"))
    return str(answer.content.decode())


def some(owner: User, count: int) -> None:
    for number in range(count):
        way = making.channel(owner, "jsons://hooks.example.com/token-of-the-hook", f"hook {uuid4().hex[:4]}")
        making.rule(owner, way, name=f"rule {number} {way.name}")
    notify.note([alert(), alert("node_offline", severity="critical")], making.NOON)


@pytest.mark.parametrize("model", ["rule", "channel", "notification"])
def test_lists_and_pages_take_few_queries_and_show_no_secret(browser: Client, root: User, model: str) -> None:
    some(root, 1)
    row = {"rule": Rule, "channel": Channel, "notification": Notification}[model].objects.first()
    with CaptureQueriesContext(connection) as few:
        text = text_of(browser.get(changelist(model)))
    some(root, 5)
    with CaptureQueriesContext(connection) as many:
        text += text_of(browser.get(changelist(model)))
    with CaptureQueriesContext(connection) as one:
        text += text_of(browser.get(page(row)))
    assert len(many) <= len(few) + 1 <= 11
    assert len(one) <= 12, [query["sql"] for query in one]
    assert "token-of-the-hook" not in text
    assert row.secret not in text if isinstance(row, Channel) else True


def test_a_channel_is_made_from_an_address_that_is_never_shown_again(browser: Client, root: User) -> None:
    add = reverse("admin:alerts_channel_add")
    form = {"user": root.pk, "name": "hook", "url": "jsons://hooks.example.com/token-of-the-hook", "enabled": "on"}
    assert "cannot send to this nosuch" in text_of(browser.post(add, {**form, "url": "nosuch://secret-word"}))
    assert "needs an address" in text_of(browser.post(add, {**form, "url": ""}))
    assert browser.post(add, form).status_code == 302
    made = Channel.objects.get()
    assert channels.reveal(made) == form["url"]
    assert browser.post(page(made), {**form, "url": "", "name": "renamed"}).status_code == 302
    made.refresh_from_db()
    assert (made.name, channels.reveal(made)) == ("renamed", form["url"])


@pytest.mark.django_db(transaction=True)
def test_the_test_button_sends_a_message_and_says_the_outcome(browser: Client, root: User) -> None:
    with servers.webhook() as hook:
        made = making.channel(root, hook.url)
        form = {"user": root.pk, "name": "hook", "url": "", "enabled": "on", "alerts_channel_test": "1"}
        text = text_of(browser.post(page(made), form, follow=True))
        assert "A test was sent by hook (json://127.0.0.1/…)" in text
        hook.status = 403
        chosen = {"action": "test_selected", "_selected_action": made.pk}
        text = text_of(browser.post(changelist("channel"), chosen, follow=True))
    assert "was not sent" in text
    assert "403" in text
    assert "token-of-the-hook" not in text
    assert hook.titles == ["[info] test: Ginkgo Live"]


def test_staff_see_and_make_only_what_is_their_own(client: Client, root: User) -> None:
    some(root, 1)
    ops = making.user("ops")
    for model in ("rule", "channel", "notification"):
        ops.user_permissions.add(*Permission.objects.filter(content_type__app_label="alerts"))
        client.force_login(User.objects.get(pk=ops.pk))
        assert client.get(page({"rule": Rule, "channel": Channel, "notification": Notification}[model].objects.first())
                          ).status_code == 302  # fmt: skip
    theirs = Channel.objects.get()
    mine = making.channel(ops)
    form = {
        "user": root.pk, "name": "mine", "enabled": "on", "severity": "warning", "min_interval": 60, "time_zone": "UTC",
        "channels": [theirs.pk],
    }  # fmt: skip
    add = reverse("admin:alerts_rule_add")
    assert "valid choice" in text_of(client.post(add, form)).replace("one of the available choices", "valid choice")
    assert client.post(add, {**form, "channels": [mine.pk]}).status_code == 302
    assert Rule.objects.get(name="mine").user == ops


def test_a_rule_with_half_of_its_quiet_hours_is_refused(browser: Client, root: User) -> None:
    form = {
        "user": root.pk, "name": "r", "severity": "warning", "min_interval": 60, "time_zone": "Asia/Shanghai",
        "quiet_from": "22:00",
    }  # fmt: skip
    text = text_of(browser.post(reverse("admin:alerts_rule_add"), form))
    assert "give both, or neither" in text


def test_a_rule_uses_nobody_elses_channel(browser: Client, root: User) -> None:
    stranger = making.channel(making.user("stranger"), name="not yours")
    form = {
        "user": root.pk, "name": "r", "severity": "warning", "min_interval": 60, "time_zone": "UTC",
        "channels": [stranger.pk],
    }  # fmt: skip
    assert "not yours" in text_of(browser.post(reverse("admin:alerts_rule_add"), form))
    assert not Rule.objects.exists()


def test_notifications_are_nobodys_to_write(browser: Client, root: User) -> None:
    some(root, 1)
    row = Notification.objects.first()
    assert browser.get(changelist("notification") + "add/").status_code == 403
    assert browser.post(page(row), {"outcome": "sent"}).status_code == 403
    job = delivery.claim(datetime.now(UTC), frozenset(), frozenset())
    assert job is not None


@pytest.mark.servers
def test_the_alerts_page_lists_filters_and_shows_each(browser: Client, stack: RunningStack) -> None:
    store = AlertStore()
    source, now = f"admin-{uuid4().hex[:6]}", datetime.now(UTC)
    mine = [alert(source=source, at=now, message=f"<b>number {n}</b>", number=n) for n in range(3)]
    store.add([*mine, alert("node_offline", source=source, severity="critical", at=now)], now)
    store.close()
    text = text_of(browser.get(changelist("alert"), {"source": source}))
    assert "3 since" in text
    assert "node_offline" in text
    assert "<b>number" not in text
    assert "queue_full" not in text_of(browser.get(changelist("alert"), {"source": source, "severity": "critical"}))
    one = text_of(browser.get(reverse("admin:alerts_alert_change", args=[mine[0].alert_id])))
    assert "&quot;number&quot;: 0" in one
    assert "No alerts" in text_of(browser.get(changelist("alert"), {"source": "nobody", "page": "x", "period": "z"}))
    assert browser.get(reverse("admin:alerts_alert_change", args=["nothing"])).status_code == 404


def test_the_alerts_page_says_that_mongodb_is_away(browser: Client, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("alerts.admin_alerts._STORE", AlertStore())
    away = replace(resolve(settings.GINKGO), mongodb=None)
    settings.GINKGO_RESOLVE = lambda: away
    assert "no MongoDB is configured" in text_of(browser.get(changelist("alert")))


def test_who_may_not_see_alerts_does_not(client: Client) -> None:
    client.force_login(making.user("clerk"))
    assert client.get(changelist("alert")).status_code == 403
