"""The admin's pages: read what the scheduler wrote, set what an operator may."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client
from django.urls import reverse

from scheduler import cycle, moves
from scheduler.models import Node, Plan, PlannedMove
from tests.scheduler.conftest import Clock, Herd, owner_of

Make = Callable[..., str]


@pytest.fixture
def operator(admin_client: Client, herd: Herd, portfolio: Make, clock: Clock) -> Client:
    portfolio("p1", "n1", 1)
    herd.beat("n1", "n2")
    cycle.tick()
    moves.begin(owner_of("p1"), "n2", "test", clock())
    return admin_client


@pytest.mark.parametrize("name", ["node", "plan", "plannedmove", "requirement"])
def test_the_list_opens(operator: Client, name: str) -> None:
    assert operator.get(reverse(f"admin:scheduler_{name}_changelist")).status_code == 200


def test_each_row_opens(operator: Client) -> None:
    for name, key in (("node", "n1"), ("plan", Plan.objects.first().pk), ("plannedmove", "p1")):
        page = operator.get(reverse(f"admin:scheduler_{name}_change", args=[key]))
        assert page.status_code == 200


def node_page(operator: Client, **changes: str) -> str:
    form = {"enabled": "on", "capacity": "", "labels": "{}", **changes}
    form = {k: v for k, v in form.items() if v != "off"}
    answer = operator.post(reverse("admin:scheduler_node_change", args=["n1"]), form, follow=True)
    return answer.content.decode()


def test_switching_a_node_off_drains_it(operator: Client, herd: Herd) -> None:
    node_page(operator, enabled="off")
    assert not Node.objects.get(node_id="n1").enabled
    assert "node.drain" in [c["command_type"] for c in herd.queue("n1")]


def test_labels_and_capacity_are_the_operators(operator: Client) -> None:
    node_page(operator, labels='{"market": ["cn"]}', capacity="3")
    node = Node.objects.get(node_id="n1")
    assert (node.labels, node.capacity, node.room) == ({"market": ["cn"]}, 3, 3)


def test_labels_that_are_none_are_refused(operator: Client) -> None:
    assert "must be a text or a list of texts" in node_page(operator, labels='{"market": [1]}')
    assert Node.objects.get(node_id="n1").labels == {}


def test_draining_by_action_asks_first(operator: Client) -> None:
    url, pressed = reverse("admin:scheduler_node_changelist"), {"action": "drain", "_selected_action": ["n1"]}
    assert "n1, with 1 portfolios" in operator.post(url, pressed).content.decode()
    assert Node.objects.get(node_id="n1").enabled
    operator.post(url, {**pressed, "confirmed": "yes"}, follow=True)
    assert not Node.objects.get(node_id="n1").enabled


def test_what_the_scheduler_writes_nobody_edits(operator: Client) -> None:
    for name in ("plan", "plannedmove"):
        assert operator.get(reverse(f"admin:scheduler_{name}_add")).status_code == 403
    assert operator.post(reverse("admin:scheduler_plannedmove_delete", args=["p1"]), {"post": "yes"}).status_code == 403
    assert PlannedMove.objects.exists()


def test_only_a_node_that_is_gone_can_be_forgotten(operator: Client) -> None:
    url = reverse("admin:scheduler_node_delete", args=["n1"])
    assert operator.post(url, {"post": "yes"}).status_code == 403
    Node.objects.filter(node_id="n1").update(state="offline")
    assert operator.post(url, {"post": "yes"}).status_code == 302
    assert not Node.objects.filter(node_id="n1").exists()
