"""Tokens for people, keys for programs, and how often each may ask."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import call_command
from pytest_django import Settings

from portfolios import api_keys
from portfolios.api.kit.throttles import Counters, rate
from portfolios.models import ApiKey
from tests.api import callers
from tests.api.callers import Caller

pytestmark = pytest.mark.django_db


@pytest.fixture
def trader() -> User:
    made = callers.user("trader", "trader")
    made.set_password("correct horse")
    made.save()
    return made


@pytest.mark.usefixtures("redis_away")
class TestTokens:
    def test_a_name_and_a_password_give_a_token_that_is_taken(self, trader: User) -> None:
        pair = callers.nobody().post("/api/token/", {"username": "trader", "password": "correct horse"}).json()
        caller = Caller({"authorization": f"Bearer {pair['access']}"})
        assert caller.get("/api/portfolio").status_code == 200
        again = callers.nobody().post("/api/token/refresh/", {"refresh": pair["refresh"]}).json()
        assert Caller({"authorization": f"Bearer {again['access']}"}).get("/api/portfolio").status_code == 200

    def test_a_refresh_token_opens_nothing(self, trader: User) -> None:
        pair = callers.nobody().post("/api/token/", {"username": "trader", "password": "correct horse"}).json()
        assert Caller({"authorization": f"Bearer {pair['refresh']}"}).get("/api/portfolio").status_code == 401

    @pytest.mark.parametrize("password", ["wrong", " ", "\x00", "ü" * 99])
    def test_a_wrong_password_gives_none(self, trader: User, password: str) -> None:
        answer = callers.nobody().post("/api/token/", {"username": "trader", "password": password})
        assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_CREDENTIALS")

    def test_who_left_refreshes_nothing(self, trader: User) -> None:
        pair = callers.nobody().post("/api/token/", {"username": "trader", "password": "correct horse"}).json()
        User.objects.update(is_active=False)
        answer = callers.nobody().post("/api/token/refresh/", {"refresh": pair["refresh"]})
        assert (answer.status_code, answer.json()["code"]) == (401, "INVALID_CREDENTIALS")


@pytest.mark.usefixtures("redis_away")
class TestKeys:
    def test_a_key_is_shown_once_and_kept_as_a_digest(self, trader: User, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("apikey", "create", "robot", "--user", "trader", "--scope", "trade", "--expires", "4w", "--json")
        made = json.loads(capsys.readouterr().out)
        assert made["scopes"] == ["read", "trade"]
        assert re.fullmatch(r"gk_[0-9a-f]{8}_[A-Za-z0-9_-]{43}", made["key"])
        row = ApiKey.objects.get()
        assert made["key"] not in json.dumps(list(ApiKey.objects.values()), default=str)
        assert row.expires_at is not None and (row.expires_at - row.created_at).days in (27, 28)
        for headers in ({"x-api-key": made["key"]}, {"authorization": f"Bearer {made['key']}"}):
            assert Caller(headers).get("/api/portfolio").status_code == 200

    def test_its_list_tells_neither_key_nor_digest(self, trader: User, capsys: pytest.CaptureFixture[str]) -> None:
        row, key = api_keys.create("robot", trader, ["read"], datetime.now(UTC))
        call_command("apikey", "list", "--json")
        text = capsys.readouterr().out
        (found,) = json.loads(text)
        assert (found["prefix"], found["name"], found["owner"], found["state"]) == (
            row.prefix,
            "robot",
            "trader",
            "active",
        )
        assert key not in text and row.digest not in text

    @pytest.mark.parametrize("by", ["prefix", "name", "key"])
    def test_a_revoked_key_opens_nothing(self, trader: User, by: str, capsys: pytest.CaptureFixture[str]) -> None:
        row, key = api_keys.create("robot", trader, ["read"], datetime.now(UTC))
        caller = Caller({"x-api-key": key})
        assert caller.get("/api/portfolio").status_code == 200
        call_command("apikey", "revoke", {"prefix": row.prefix, "name": row.name, "key": key}[by], "--json")
        assert json.loads(capsys.readouterr().out)["state"] == "revoked"
        assert caller.get("/api/portfolio").status_code == 401

    def test_its_use_is_noted_once_a_minute(self, trader: User) -> None:
        _, key = api_keys.create("robot", trader, ["read"], datetime.now(UTC))
        Caller({"x-api-key": key}).get("/api/portfolio")
        first = ApiKey.objects.get().last_used_at
        Caller({"x-api-key": key}).get("/api/portfolio")
        assert first is not None and ApiKey.objects.get().last_used_at == first


def limited(settings: Settings, **rates: str) -> None:
    settings.GINKGO = settings.GINKGO.model_copy(update={"api": settings.GINKGO.api.model_copy(update=rates)})


def until_refused(caller: Caller, path: str, most: int = 12) -> tuple[int, Any]:
    """How many requests went through, and the answer that did not."""
    for number in range(most):
        answer = caller.get(path)
        if answer.status_code == 429:
            return number, answer
    raise AssertionError(f"{most} requests went through")


class TestThrottles:
    @pytest.mark.usefixtures("redis_away")
    def test_beyond_the_rate_the_answer_is_a_429_that_says_when(self, trader: User, settings: Settings) -> None:
        limited(settings, read_rate="5/d")
        number, answer = until_refused(callers.by_token(trader), "/api/components")
        assert number == 5
        assert answer.json()["code"] == "TOO_MANY_REQUESTS"
        assert 0 < int(answer.headers["Retry-After"]) <= 86_400
        assert int(answer.headers["Retry-After"]) == answer.json()["details"]["retry_after"]

    @pytest.mark.servers
    def test_users_and_scopes_are_counted_apart_for_all_processes(
        self, trader: User, settings: Settings, live: redis.Redis
    ) -> None:
        limited(settings, read_rate="3/d", trade_rate="2/d")
        first = callers.by_token(trader)
        assert until_refused(first, "/api/components")[0] == 3
        assert first.post("/api/portfolio/x/start").status_code == 404
        assert callers.by_token(callers.user("other")).get("/api/components").status_code == 200
        assert until_refused(callers.by_key(trader), "/api/components")[0] == 0
        assert Counters().over(f"api:rate:read:user:{trader.pk}", 3, 86_400, datetime.now(UTC).timestamp()) is not None
        assert all(0 < live.ttl(key) <= 172_801 for key in live.scan_iter("api:rate:*"))  # type: ignore[operator]

    @pytest.mark.usefixtures("redis_away")
    def test_guessing_passwords_is_limited_by_address(self, trader: User, settings: Settings) -> None:
        limited(settings, login_rate="2/d")
        wrong = {"username": "trader", "password": "wrong"}
        answers = [callers.nobody().post("/api/token/", wrong).status_code for _ in range(4)]
        assert answers == [401, 401, 429, 429]

    @pytest.mark.usefixtures("redis_away")
    def test_the_last_period_counts_by_its_share(self) -> None:
        counters = Counters()
        for _ in range(10):
            assert counters.over("k", 10, 60, 59.0) is None
        assert counters.over("k", 10, 60, 60.0) is not None
        assert counters.over("k", 10, 60, 90.0) is None  # half of ten, and two of this period
        assert counters.over("k", 10, 60, 180.0) is None

    @pytest.mark.parametrize(("text", "expected"), [("5/s", (5, 1)), ("600/min", (600, 60)), ("1/h", (1, 3600))])
    def test_a_rate_is_a_number_a_period(self, text: str, expected: tuple[int, int]) -> None:
        assert rate(text) == expected
