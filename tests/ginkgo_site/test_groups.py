"""What viewers, traders and operators see and press in the admin: tried by pressing, as each of them."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, Permission, User
from django.test import Client
from django.urls import reverse

from ginkgo_site import groups
from market import switch
from market.models import EngineSwitch
from portfolios import services
from portfolios.models import Command, Portfolio, Revision
from scheduler.models import Node, PlannedMove, Requirement
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]

NOT_FOR_ALL = {
    "viewer": {"portfolios.apikey", "portfolios.auditentry", "django_celery_beat.periodictask"},
    "trader": {"portfolios.apikey", "portfolios.auditentry", "django_celery_beat.periodictask"},
    "operator": {"auth.user", "auth.group", "django_celery_beat.solarschedule", "django_celery_beat.clockedschedule"},
}


def member(name: str) -> Client:
    user = User.objects.create_user(f"a-{name}", is_staff=True)
    user.groups.add(Group.objects.get(name=name))
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def world() -> dict[str, Any]:
    made = books.portfolio("Mine", books.administrator())
    services.update_config(made.id, {**made.config, "codes": ["600519.SH"]}, books.administrator())
    Node.objects.create(node_id="node-1", state="online", max_portfolios=5)
    Node.objects.create(node_id="node-2", state="online", max_portfolios=5)
    EngineSwitch.objects.get_or_create(pk=1, defaults={"on": True})
    return {"portfolio": made, "revision": Revision.objects.get(portfolio=made, version=1)}


def presses(world: dict[str, Any]) -> dict[str, tuple[str, str, dict[str, Any]]]:
    """Every button: the least group that may press it, its address, what it sends."""
    portfolio, version = world["portfolio"], world["revision"]
    of = reverse("admin:portfolios_portfolio_changelist")
    nodes = reverse("admin:scheduler_node_changelist")
    engine = reverse("admin:market_engineswitch_change", args=[1]).removesuffix("change/")
    one = {"_selected_action": [portfolio.pk], "confirmed": "yes"}
    node = {"_selected_action": ["node-2"], "confirmed": "yes"}
    yes = {"confirmed": "yes"}
    return {
        "stop": ("trader", of, {"action": "stop_selected", **one}),
        "start": ("trader", of, {"action": "start_selected", **one}),
        "reload": ("trader", of, {"action": "reload_selected", **one}),
        "stop it": ("trader", f"{of}{portfolio.pk}/stop/", yes),
        "start it": ("trader", f"{of}{portfolio.pk}/start/", yes),
        "reload it": ("trader", f"{of}{portfolio.pk}/reload/", yes),
        "restore": ("trader", reverse("admin:portfolios_revision_changelist") + f"{version.pk}/restore/", yes),
        "migrate": ("operator", of, {"action": "migrate_selected", "target_node": "node-2", **one}),
        "migrate it": ("operator", f"{of}{portfolio.pk}/migrate/", {"target_node": "node-2", **yes}),
        "drain": ("operator", nodes, {"action": "drain", **node}),
        "enable": ("operator", nodes, {"action": "enable", **node}),
        "shut down": ("operator", nodes, {"action": "shut_down", **node}),
        "engine stop": ("operator", f"{engine}stop/", yes),
        "engine start": ("operator", f"{engine}start/", yes),
    }


def standing() -> list[Any]:
    """All that a button can change."""
    return [
        list(Portfolio.objects.values("pk", "desired_state", "version")),
        list(Node.objects.values("pk", "enabled")),
        *(switch.read(), Command.objects.count(), PlannedMove.objects.count(), LogEntry.objects.count()),
    ]


RANK = {"viewer": 0, "trader": 1, "operator": 2}


@pytest.mark.parametrize("name", RANK)
def test_each_presses_what_is_theirs_and_nothing_else(name: str, world: dict[str, Any]) -> None:
    client = member(name)
    told = 0
    for button, (least, url, sent) in presses(world).items():
        before = standing()
        answer = client.post(url, sent)
        if RANK[name] >= RANK[least]:
            # What was asked of it stands among the messages of the next page.
            said = len(answer.wsgi_request._messages)  # type: ignore[attr-defined]
            assert answer.status_code == 302 and said > told, (button, answer.status_code)
            told = said
        else:
            # A list's action that one may not press is not among the choices, so nothing is done.
            assert answer.status_code in (302, 200, 403), (button, answer.status_code)
            assert standing() == before, button
            told = len(answer.wsgi_request._messages) if answer.status_code == 302 else told  # type: ignore[attr-defined]
    if name == "operator":
        assert services.get(world["portfolio"].pk).desired_state == "running"
        assert world["portfolio"].version < Portfolio.objects.get().version


@pytest.mark.parametrize("name", RANK)
def test_each_sees_its_pages_and_only_these_in_the_menu(name: str, world: dict[str, Any]) -> None:
    client = member(name)
    menu = client.get(reverse("admin:index")).content.decode()
    for model in admin.site._registry:
        url = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_changelist")
        answer = client.get(url)
        if url in menu:
            assert answer.status_code in (200, 302), model
        else:
            assert answer.status_code == 403, model
        assert (model._meta.label_lower in NOT_FOR_ALL[name]) <= (url not in menu), model
    assert reverse("admin:portfolios_portfolio_changelist") in menu
    assert reverse("admin:market_order_changelist") in menu
    text = client.get(reverse("admin:portfolios_portfolio_change", args=[world["portfolio"].pk])).content.decode()
    assert ("data-config-form" in text) == (name != "viewer")
    assert "600519.SH" in text
    assert (">Stop<" in "".join(text.split())) == (name != "viewer")


def test_a_viewer_changes_nothing_by_a_form_either(world: dict[str, Any]) -> None:
    client, portfolio = member("viewer"), world["portfolio"]
    for url in (
        reverse("admin:portfolios_portfolio_change", args=[portfolio.pk]),
        reverse("admin:scheduler_node_change", args=["node-1"]),
        reverse("admin:market_engineswitch_change", args=[1]),
        reverse("admin:scheduler_requirement_add"),
    ):
        assert (
            client.post(url, {"name": "Theirs", "on": "", "portfolio": portfolio.pk, "labels": "{}"}).status_code == 403
        )
    assert Portfolio.objects.get().name == "Mine"
    assert not Requirement.objects.exists()


def test_a_trader_gives_a_portfolio_to_nobody_else(world: dict[str, Any]) -> None:
    client, portfolio = member("trader"), Portfolio.objects.get()
    other = User.objects.get(username="a-trader")
    url = reverse("admin:portfolios_portfolio_change", args=[portfolio.pk])
    config = '{"strategy": 1}'
    client.post(url, {"name": "Theirs", "owner": other.pk, "config": config, "seen_version": 2})
    assert Portfolio.objects.get().owner == portfolio.owner


def test_what_somebody_changed_in_them_is_put_right_and_other_groups_stay() -> None:
    viewer = Group.objects.get(name="viewer")
    wanted = set(viewer.permissions.values_list("codename", flat=True))
    own = Group.objects.create(name="auditors")
    for group in (viewer, own):
        group.permissions.set(Permission.objects.filter(codename="delete_user"))
    groups.ship()
    assert set(viewer.permissions.values_list("codename", flat=True)) == wanted
    assert "view_portfolio" in wanted and "change_portfolio" not in wanted and "delete_user" not in wanted
    assert own.permissions.count() == 1


def test_every_permission_they_name_exists() -> None:
    known = {f"{p.content_type.app_label}.{p.codename}" for p in Permission.objects.select_related("content_type")}
    assert {code for code in groups.OPERATOR if not code.endswith("*")} <= known
