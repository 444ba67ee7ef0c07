"""A process frozen inside a transaction: only on MySQL, where it holds one row and not the whole database."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from django.conf import settings
from django.db import connection

from portfolios.models import Assignment
from scheduler import cycle
from tests.scheduler.conftest import Herd, owner_of

Make = Callable[..., str]

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(
        "mysql" not in settings.DATABASES["default"]["ENGINE"], reason="needs a MySQL: make test-servers gives one"
    ),
]


def test_a_locked_portfolio_costs_the_others_a_second_and_follows_when_it_is_free(herd: Herd, portfolio: Make) -> None:
    for name in ("p1", "p2", "p3"):
        portfolio(name, "dead", 1)
    herd.beat("n1")
    frozen = connection.copy()
    frozen.set_autocommit(False)
    try:
        with frozen.cursor() as cursor:
            cursor.execute("UPDATE portfolios_assignment SET reason = 'frozen' WHERE portfolio_id = 'p1'")
        began = time.monotonic()
        cycle.tick()
        assert time.monotonic() - began < 4
        assert sorted(Assignment.objects.filter(node_id="n1").values_list("pk", flat=True)) == ["p2", "p3"]
    finally:
        frozen.rollback()
        frozen.close()
    cycle.check()
    assert owner_of("p1").node_id == "n1"
