"""Answers that Kafka does not bring are read from the engine's table: each once, in order, not before their price."""

from __future__ import annotations

from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError

from market.messages import Feedback, encode
from market.models import OutboxMessage
from nodes import answers, runtime
from nodes.answers import Answers
from nodes.runtime import Runtime
from portfolios.models import Portfolio
from tests.nodes.support import RULES, TOPIC, answer, loaded

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


@pytest.fixture
def run() -> Runtime:
    user = User.objects.create_user("t")
    made = Portfolio.objects.create(name="p", owner=user, initial_cash=1, config={})
    found, _ = runtime.restore(loaded(made.id, offsets={TOPIC: {0: 5}}), RULES)
    return found


def tell(run: Runtime, pseq: int, seen: str = "") -> Feedback:
    told = answer(pseq, str(uuid4()), run.portfolio_id, **({"seen": seen} if seen else {}))
    OutboxMessage.objects.create(
        portfolio_id=run.portfolio_id, pseq=pseq, order_id=told.order_id, message=encode(told).decode()
    )
    return told


def numbers(run: Runtime, at: float, reader: Answers) -> list[int]:
    items = reader.take(run, at)
    run.apply(items)
    return [item.event.pseq for item in items]  # type: ignore[union-attr]


def test_what_was_told_and_not_heard_is_taken_in_its_order_once(run: Runtime) -> None:
    reader = Answers()
    for pseq in (1, 2, 3):
        tell(run, pseq)
    assert numbers(run, 100.0, reader) == [1, 2, 3]
    tell(run, 4)
    assert numbers(run, 101.0, reader) == [4]
    assert run.portfolio.pseq == 4


def test_it_is_asked_for_now_and_then_only(run: Runtime) -> None:
    reader = Answers()
    assert numbers(run, 100.0, reader) == []
    tell(run, 1)
    assert numbers(run, 100.4, reader) == []
    assert numbers(run, 100.6, reader) == [1]


def test_kafkas_copies_of_it_change_nothing(run: Runtime) -> None:
    told = tell(run, 1)
    assert numbers(run, 100.0, Answers()) == [1]
    before = run.portfolio.snapshot()
    run.portfolio.apply(told, ("feedback", 0, 7))  # type: ignore[arg-type]
    assert run.portfolio.snapshot() == before


def test_one_whose_price_is_yet_to_come_waits_a_moment_and_what_follows_with_it(
    run: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(answers.time, "monotonic", lambda: now[0])
    reader = Answers()
    tell(run, 1)
    tell(run, 2, seen=f"{TOPIC}:0:9")
    tell(run, 3)
    assert numbers(run, 100.0, reader) == [1]
    now[0] = 101.0
    assert numbers(run, 101.0, reader) == []
    now[0] = 102.1
    assert numbers(run, 102.1, reader) == [2, 3]


def test_while_the_database_is_away_there_are_none_and_the_portfolio_goes_on(
    run: Runtime, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(**_: object) -> None:
        raise OperationalError("gone")

    monkeypatch.setattr(answers.OutboxMessage.objects, "filter", gone)
    monkeypatch.setattr(answers.connection, "close", lambda: None)
    assert Answers().take(run, 100.0) == []
