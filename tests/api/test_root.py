"""The API's root, its description, its page, and where nothing is."""

from __future__ import annotations

import pytest
from django.test import Client, override_settings

from portfolios.kernel import registry
from tests.api import callers
from tests.ginkgo_site import books

pytestmark = pytest.mark.django_db

BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def test_the_root_says_where_everything_is_to_anybody() -> None:
    found = callers.nobody().get("/api/").json()
    assert found["name"] == "Ginkgo Live"
    assert callers.nobody().get(found["admin"]).status_code == 302
    assert callers.nobody().get(found["components"]).status_code == 401


def test_the_components_are_those_of_the_registry() -> None:
    found = callers.by_token(books.administrator()).get("/api/components").json()
    assert [one["name"] for one in found] == [info.name for info in registry.describe()]
    assert all(param["doc"] for one in found for param in one["params"])


def test_components_of_one_kind() -> None:
    found = callers.by_token(books.administrator()).get("/api/components?kind=sizer").json()
    assert {one["kind"] for one in found} == {"sizer"}


def test_a_browser_gets_a_page_that_needs_no_other_server(client: Client) -> None:
    answer = client.get("/api/docs/", headers={"accept": BROWSER})
    assert answer.status_code == 200
    page = answer.content.decode()
    assert "swagger-ui" in page
    assert "https://" not in page.replace("https://github.com", "")


def test_the_admins_session_is_known(client: Client) -> None:
    client.force_login(books.administrator())
    assert client.get("/api/portfolio").status_code == 200


def test_a_session_writes_only_with_the_csrf_token() -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(books.administrator())
    answer = client.post("/api/engine/live/stop")
    assert (answer.status_code, answer.json()["code"]) == (403, "PERMISSION_DENIED")


@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "TRACE", "OPTIONS"])
def test_where_nothing_is_the_answer_has_the_one_shape(method: str) -> None:
    answer = callers.nobody()(method, "/api/nothing/here")
    assert answer.status_code == 404
    assert set(answer.json()) == {"error", "code", "message", "details"}


def test_a_slash_too_few_is_told() -> None:
    assert "did you mean /api/token/?" in callers.nobody().post("/api/token").json()["message"]
    assert "did you mean /api/portfolio?" in callers.nobody().get("/api/portfolio/").json()["message"]


@override_settings(ALLOWED_HOSTS=["elsewhere"])
def test_a_host_that_is_not_ours_is_told_in_the_one_shape() -> None:
    answer = callers.nobody().get("/api/portfolio")
    assert (answer.status_code, answer.json()["error"]) == (400, True)


def test_the_description_is_there_for_anybody_as_json_and_as_yaml() -> None:
    found = callers.nobody().get("/api/schema/").json()
    assert found["openapi"].startswith("3.1")
    assert "/api/portfolio/{portfolio_id}/start" in found["paths"]
    assert callers.nobody().get("/api/schema/", accept="application/yaml").content.startswith(b"openapi: 3.1")
