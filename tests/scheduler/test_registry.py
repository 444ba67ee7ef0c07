"""Which ids nodes may have beside each other."""

from __future__ import annotations

import pytest
from django.db import connection

from scheduler import registry
from scheduler.models import Node

pytestmark = pytest.mark.django_db


def test_an_id_is_known_in_one_spelling() -> None:
    Node.objects.create(node_id="Node_1")
    assert registry.other_spelling("node_1") == "Node_1"
    assert registry.other_spelling("NODE_1") == "Node_1"
    assert registry.other_spelling("Node_1") == "", "its own"
    for another in ("node-1", "nodex1", "node_10", "ode_1"):
        assert registry.other_spelling(another) == ""


@pytest.mark.skipif(connection.vendor == "mysql", reason="to MySQL the two are one")
def test_two_that_are_there_already_both_go_on() -> None:
    Node.objects.create(node_id="node")
    Node.objects.create(node_id="NODE")
    assert registry.other_spelling("node") == registry.other_spelling("NODE") == ""
