"""On a real database and a real Redis."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from portfolios import lifecycle, livestate
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import Status
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

ROUND = ["created", "running", "stopping", "stopped", "reloading", "running", "stopping", "stopped", "running"]


@pytest.fixture(autouse=True)
def portfolio(stack: RunningStack, db: None) -> Portfolio:
    made = Portfolio.objects.create(
        id="life-1", name="p", owner=User.objects.create_user("t"), initial_cash=1, config={}
    )
    Assignment.objects.create(portfolio=made, node_id="n1", epoch=5)
    livestate.client().delete(livestate.status_key("life-1"))
    return made


def status() -> str:
    return Portfolio.objects.get(id="life-1").status


def told() -> object:
    return livestate.client().get(livestate.status_key("life-1"))


def test_the_whole_round_is_allowed_and_told_to_both() -> None:
    for target in ROUND[1:]:
        assert lifecycle.enter("life-1", Status(target))
        assert (status(), told()) == (target, target)


@pytest.mark.parametrize(
    ("source", "target"),
    [("created", "stopped"), ("running", "stopped"), ("running", "reloading"), ("stopped", "stopping"),
     ("reloading", "stopped"), ("error", "stopping"), ("running", "created")],
)  # fmt: skip
def test_what_the_table_does_not_have_changes_nothing(source: str, target: str) -> None:
    Portfolio.objects.update(status=source)
    assert not lifecycle.allowed(source, target)
    assert not lifecycle.enter("life-1", Status(target))
    assert (status(), told()) == (source, None)


@pytest.mark.parametrize("source", list(Status))
def test_error_comes_from_anywhere_and_a_start_leads_out_of_it(source: Status) -> None:
    Portfolio.objects.update(status=source)
    assert lifecycle.enter("life-1", Status.ERROR, "broken")
    assert Portfolio.objects.get(id="life-1").status_reason == "broken"
    assert lifecycle.enter("life-1", Status.RUNNING)


@pytest.mark.parametrize("left_behind", list(Status))
def test_a_successor_says_where_it_is_whatever_it_found(left_behind: Status) -> None:
    Portfolio.objects.update(status=left_behind)
    assert lifecycle.enter("life-1", Status.RUNNING, taking_over=True)
    assert status() == "running"


def test_one_that_has_lost_it_has_no_say() -> None:
    lifecycle.enter("life-1", Status.RUNNING, epoch=5)
    Assignment.objects.update(epoch=6)
    assert not lifecycle.enter("life-1", Status.STOPPING, epoch=5)
    assert (status(), told()) == ("running", "running")
    assert lifecycle.enter("life-1", Status.STOPPING, epoch=6)


def test_a_long_reason_is_cut() -> None:
    lifecycle.enter("life-1", Status.ERROR, "x" * 900)
    assert Portfolio.objects.get(id="life-1").status_reason == "x" * 500


def test_redis_being_away_is_a_log_line(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def away(timeout: float = 3.0) -> None:
        raise livestate.RedisUnavailable("no Redis")

    monkeypatch.setattr(livestate, "client", away)
    assert lifecycle.enter("life-1", Status.RUNNING)
    assert status() == "running"
    assert "Redis was not told" in caplog.text
