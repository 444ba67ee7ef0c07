"""The API's root, and the components."""

from __future__ import annotations

import pytest
from django.test import Client

from portfolios.kernel import registry
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db


def test_the_root_says_where_everything_is_to_anybody(client: Client) -> None:
    found = client.get("/api/").json()
    assert found["name"] == "Ginkgo Live"
    assert client.get(found["admin"]).status_code == 302
    assert client.get(found["components"]).status_code == 403


def test_the_components_are_those_of_the_registry(client: Client) -> None:
    client.force_login(books.administrator())
    found = client.get("/api/components").json()
    assert [one["name"] for one in found] == [info.name for info in registry.describe()]
    assert all(param["doc"] for one in found for param in one["params"])


def test_a_browser_gets_a_page(client: Client) -> None:
    answer = client.get("/api/", headers={"accept": "text/html"})
    assert answer.status_code == 200
    assert "Ginkgo Live" in answer.content.decode()
