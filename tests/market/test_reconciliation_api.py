"""/api/reconciliation: who sees which differences; the admin's note of one."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.test import Client
from django.urls import reverse

from market.models import Mismatch
from portfolios.models import Account
from tests.api import callers
from tests.api.conftest import redis_away
from tests.ginkgo_site import books

__all__ = ["redis_away"]
pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("redis_away")]


def found(caller: callers.Caller, query: str = "") -> list[dict[str, object]]:
    answer = caller.get(f"/api/reconciliation{query}")
    assert answer.status_code == 200, answer.content
    return list(answer.json()["results"])


def test_owners_see_what_is_of_their_portfolios_and_accounts_and_staff_all() -> None:
    one, other, staff = callers.user("one"), callers.user("other"), callers.user("staff", is_staff=True)
    mine, theirs = books.portfolio("Mine", one), books.portfolio("Theirs", other)
    for each in (mine, theirs):
        books.mismatch(each)
    assert {row["account_id"] for row in found(callers.by_key(one))} == {mine.account_id}
    assert [row["scope"] for row in found(callers.by_key(one))] == ["portfolio", "account"]
    assert len(found(callers.by_key(staff))) == 4
    assert callers.nobody().get("/api/reconciliation").status_code == 401


def test_a_row_says_what_differs_by_how_much_and_since_when() -> None:
    owner = callers.user("owner")
    books.mismatch(books.portfolio("Mine", owner))
    row = found(callers.by_key(owner), "?state=open&kind=position")[0]
    assert (row["portfolio"], row["code"], row["state"]) == ("Mine", "600519.SH", "open")
    assert (row["expected"], row["actual"], row["difference"]) == (0, 100, 100)
    assert str(row["found_at"]).startswith("2026-03-02T08:00")


def test_what_is_only_suspected_is_nobodys_news() -> None:
    owner = callers.user("owner")
    books.mismatch(books.portfolio("Mine", owner))
    Mismatch.objects.update(state="suspected")
    assert found(callers.by_key(owner)) == []


def test_an_operator_takes_note_of_an_open_one_and_it_stays_open(client: Client) -> None:
    open_, resolved = books.mismatch(books.portfolio("Mine", books.administrator())), Mismatch.objects.last()
    assert resolved is not None
    client.force_login(books.administrator())
    chosen = {"action": "acknowledge", "_selected_action": [open_.pk, resolved.pk]}
    assert client.post(reverse("admin:market_mismatch_changelist"), chosen).status_code == 302
    open_.refresh_from_db()
    resolved.refresh_from_db()
    assert (open_.state, open_.acknowledged_by) == ("open", books.administrator().username)
    assert open_.acknowledged_at is not None and open_.acknowledged_at <= datetime.now(UTC)
    assert resolved.acknowledged_by == ""
    assert Account.objects.count() == 1
