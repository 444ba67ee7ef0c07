"""Two callers in the same instant: one POST of a key is done, one writer of a version wins."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from django.db import connection

from portfolios import services
from portfolios.models import AuditEntry, Portfolio, Revision
from tests.api import callers
from tests.ginkgo_site import books

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("redis_away")]

CALLERS = 6


def all_at_once(ask: Callable[[int], Any]) -> list[Any]:
    def one(number: int) -> Any:
        try:
            return ask(number)
        finally:
            connection.close()

    with ThreadPoolExecutor(CALLERS) as pool:
        return list(pool.map(one, range(CALLERS)))


def test_a_key_used_at_once_makes_one_portfolio() -> None:
    owner = callers.user("owner")
    new = {"name": "Mine", "initial_cash": 1000, "config": books.SAMPLES[0].config()}
    answers = all_at_once(lambda _: callers.by_token(owner).post("/api/portfolio", new, Idempotency_Key="k"))
    assert {answer.status_code for answer in answers} <= {201, 409}
    made = {answer.json()["id"] for answer in answers if answer.status_code == 201}
    assert made == {Portfolio.objects.get().id}
    assert AuditEntry.objects.count() == 1


def test_of_writers_who_have_seen_the_same_version_one_wins() -> None:
    owner = callers.user("owner")
    made = services.create("Mine", owner, "cn", 1000, books.SAMPLES[0].config())

    def write(number: int) -> Any:
        strategy = {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": 50 + number}}
        path, body = f"/api/portfolio/{made.id}", {"config": {"strategy": strategy}}
        return callers.by_token(owner)("PUT", path, body, If_Match='"1"')

    codes = sorted(answer.status_code for answer in all_at_once(write))
    assert codes == [200] + [409] * (CALLERS - 1)
    assert Revision.objects.count() == 2
