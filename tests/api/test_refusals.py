"""Every route, asked by who may not: refused in the one shape of errors, and nothing has changed."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework_simplejwt.tokens import AccessToken

from portfolios import api_keys
from portfolios.models import Command, Portfolio
from tests.api import callers, world
from tests.api.callers import Caller

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]


@pytest.fixture
def owner() -> User:
    return callers.user("owner", "trader")


@pytest.fixture
def things(owner: User) -> tuple[Portfolio, Command]:
    return world.populated(owner)


def ask(caller: Caller, request: world.Request) -> Any:
    return caller(request.method, request.path, request.body)


def is_an_error(answer: Any, status: int) -> bool:
    found = answer.json()
    assert set(found) == {"error", "code", "message", "details"}, found
    assert found["error"] is True and found["code"].isupper() and found["message"] and "\n" not in found["message"]
    assert answer.headers["Content-Type"] == "application/json"
    return bool(answer.status_code == status)


def _expired_token(user: User) -> Caller:
    token = AccessToken.for_user(user)
    token.set_exp(from_time=datetime.now(UTC) - timedelta(hours=2), lifetime=timedelta(hours=1))
    return Caller({"authorization": f"Bearer {token}"})


def _token_of_an_old_password(user: User) -> Caller:
    caller = callers.by_token(user)
    user.set_password("another")
    user.save()
    return caller


def _token_of_one_who_left(user: User) -> Caller:
    caller = callers.by_token(user)
    User.objects.filter(pk=user.pk).update(is_active=False)
    return caller


def _revoked_key(user: User) -> Caller:
    caller = callers.by_key(user)
    api_keys.revoke("test", datetime.now(UTC))
    return caller


def _expired_key(user: User) -> Caller:
    long_ago = datetime.now(UTC) - timedelta(days=2)
    _, key = api_keys.create("old", user, callers.ALL, long_ago, timedelta(days=1))
    return Caller({"authorization": f"Bearer {key}"})


def _forged_key(user: User) -> Caller:
    _, key = api_keys.create("mine", user, callers.ALL, datetime.now(UTC))
    return Caller({"x-api-key": key[:-1] + ("A" if key[-1] != "A" else "B")})


UNKNOWN = {
    "nobody": lambda user: callers.nobody(),
    "an expired token": _expired_token,
    "a token of an old password": _token_of_an_old_password,
    "a token of one who left": _token_of_one_who_left,
    "a revoked key": _revoked_key,
    "an expired key": _expired_key,
    "a forged key": _forged_key,
    "nonsense": lambda user: Caller({"authorization": "Bearer nonsense"}),
}


@pytest.mark.parametrize("who", UNKNOWN)
def test_who_is_not_known_gets_nothing(who: str, owner: User, things: tuple[Portfolio, Command]) -> None:
    asked = [r for r in world.requests(*things) if r.operation not in world.OPEN]
    caller = UNKNOWN[who](owner)
    before = world.contents()
    wrong = [r.operation for r in asked if not is_an_error(ask(caller, r), 401)]
    assert len(asked) > 30 and wrong == []
    assert world.contents() == before


def test_an_unknown_caller_is_told_how_to_be_known() -> None:
    assert callers.nobody().get("/api/portfolio").headers["WWW-Authenticate"].startswith("Bearer")


def test_a_stranger_finds_nothing_of_anothers(things: tuple[Portfolio, Command]) -> None:
    stranger = callers.by_token(callers.user("stranger", "operator"))
    mine = [r for r in world.requests(*things) if r.of_somebody]
    before = world.contents()
    wrong = [r.operation for r in mine if not is_an_error(ask(stranger, r), 404)]
    assert len(mine) > 25 and wrong == []
    assert world.contents() == before


def test_a_strangers_lists_hold_nothing_of_anothers(things: tuple[Portfolio, Command]) -> None:
    portfolio, command = things
    stranger = callers.by_token(callers.user("stranger"))
    lists = ("/api/portfolio", "/api/commands", *(f"/api/alerts/{n}" for n in ("channels", "rules", "notifications")))
    for path in lists:
        assert stranger.get(path).json()["count"] == 0
    for path in ("/api/schedule/plan", "/api/schedule/history", f"/api/nodes/{world.NODE}"):
        assert portfolio.id not in stranger.get(path).content.decode()
    assert is_an_error(stranger.get(f"/api/commands/{command.pk}"), 404)


@pytest.mark.parametrize("group", ["viewer", "Viewer"])
def test_a_viewer_writes_nothing_not_even_to_what_is_theirs(group: str) -> None:
    viewer = callers.user("viewer", group)
    things = world.populated(viewer)
    caller = callers.by_token(viewer)
    for read in (r for r in world.requests(*things) if r.scope == "read" and r.operation not in ("alert_list",)):
        assert ask(caller, read).status_code == 200, read
    writes = [r for r in world.requests(*things) if r.scope in ("trade", "operate")]
    before = world.contents()
    wrong = [r.operation for r in writes if not is_an_error(ask(caller, r), 403)]
    assert len(writes) > 14 and wrong == []
    assert world.contents() == before


@pytest.mark.parametrize("scopes", [("read",), ("read", "trade")])
def test_a_key_does_no_more_than_its_scopes(scopes: tuple[str, ...]) -> None:
    chief = callers.user("chief", is_superuser=True, is_staff=True)
    things = world.populated(chief)
    caller = callers.by_key(chief, *scopes)
    beyond = [r for r in world.requests(*things) if r.scope in {"trade", "operate"} - set(scopes)]
    before = world.contents()
    wrong = [r.operation for r in beyond if not is_an_error(ask(caller, r), 403)]
    assert len(beyond) >= 6 and wrong == []
    assert world.contents() == before


def test_a_key_does_no_more_than_its_owner_may() -> None:
    caller = callers.by_key(callers.user("trader", "trader"))
    answer = caller.post("/api/engine/live/stop")
    assert is_an_error(answer, 403) and answer.json()["details"] == {"scope": "operate"}


def test_staff_see_what_is_anothers(things: tuple[Portfolio, Command]) -> None:
    portfolio, _ = things
    staff = callers.by_token(callers.user("staff", is_staff=True))
    assert staff.get(f"/api/portfolio/{portfolio.id}").json()["owner"] == "owner"
    assert staff.get("/api/portfolio").json()["count"] == 1


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "code"),
    [
        ("DELETE", "/api/portfolio", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/engine/live/stop", {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/api/schema/", {}, 405, "METHOD_NOT_ALLOWED"),
        ("POST", "/metrics", {}, 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/api/portfolio", {"accept": "image/png"}, 406, "NOT_ACCEPTABLE"),
        ("GET", "/api/portfolio?nonsense=1", {}, 400, "INVALID_PARAMETER"),
        ("GET", "/api/portfolio?limit=0", {}, 400, "INVALID_PARAMETER"),
        ("GET", "/api/portfolio?limit=5&limit=6", {}, 400, "INVALID_PARAMETER"),
    ],
)
def test_what_cannot_be_asked_is_told_in_the_one_shape(
    owner: User, method: str, path: str, headers: dict[str, str], status: int, code: str
) -> None:
    answer = callers.by_token(owner)(method, path, **headers)
    assert is_an_error(answer, status)
    assert answer.json()["code"] == code
    assert status != 405 or answer.headers["Allow"]


@pytest.mark.parametrize(
    ("body", "kind", "status"),
    [
        (b"<portfolio/>", "application/xml", 415),
        (b"name=x", "application/x-www-form-urlencoded", 415),
        (b"{", "application/json", 400),
        (b'{"initial_cash": NaN}', "application/json", 400),
        (b'{"initial_cash": 1e999}', "application/json", 400),
        (b'{"name": "\\ud800"}', "application/json", 400),
        (b"[" * 100_000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b"[]", "application/json", 400),
        (b"", "application/json", 400),
        (b'"' + b"x" * (9 * 1024 * 1024) + b'"', "application/json", 413),
    ],
)
def test_a_body_that_cannot_be_taken_is_told_in_the_one_shape(owner: User, body: bytes, kind: str, status: int) -> None:
    caller = callers.by_token(owner)
    answer = caller.client.generic("POST", "/api/portfolio", body, content_type=kind, headers=caller.headers)
    assert is_an_error(answer, status)


def test_a_failure_of_ours_is_a_500_in_the_one_shape_with_its_number_in_the_log(
    owner: User, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from scheduler import views_data

    monkeypatch.setattr(views_data, "status", lambda: 1 / 0)
    answer = callers.by_token(owner).get("/api/scheduler/status")
    assert is_an_error(answer, 500)
    assert "division" not in answer.content.decode()
    assert answer.json()["details"]["incident"] in caplog.text
