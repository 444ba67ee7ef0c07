"""What portfolios are worth and hold, sampled where it has changed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User

from market.history.rows import micros
from market.history.sampler import Sampler
from market.history.spool import Spool
from portfolios import livestate
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.kernel.rules import rules_for
from portfolios.models import Assignment, Checkpoint, Portfolio
from tests.nodes.support import CODE, MORNING, TOPIC, config, fill, tick
from tests.support.stack import RunningStack

pytestmark = pytest.mark.django_db


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, 1 << 20)
    yield made
    made.close()


def rows(spool: Spool, table: str) -> list[tuple[object, ...]]:
    return [row for batch in spool.oldest(1000) if batch.table == table for row in batch.rows]


def sampler(spool: Spool) -> Sampler:
    return Sampler(threading.Event(), spool, 0.01, batch_rows=1, batch_seconds=0)


def portfolio() -> Portfolio:
    user, _ = User.objects.get_or_create(username="trader")
    made = Portfolio.objects.create(
        name=f"p{datetime.now(UTC).timestamp()}", owner=user, initial_cash=10**6, config=config(), status="running"
    )
    Assignment.objects.create(portfolio=made, epoch=1)
    Checkpoint.objects.create(portfolio=made, epoch=1)
    return made


def tell(portfolio_id: str, value: float, minutes: int, **fields: str) -> None:
    view = {
        "cash": "900.5", "frozen": "1", "total_value": str(value), "position_count": "2",
        "event_time": (MORNING + timedelta(minutes=minutes)).isoformat(),
        "updated_at": datetime.now(UTC).isoformat(), **fields,
    }  # fmt: skip
    livestate.client().hset(livestate.state_key(portfolio_id), mapping=view)  # type: ignore[arg-type]


def test_equity_is_a_row_when_it_or_its_time_has_changed(stack: RunningStack, spool: Spool) -> None:
    found, one = sampler(spool), portfolio()
    tell(one.id, 1000.0, 0)
    found.step()
    found.step()
    tell(one.id, 1001.0, 0)
    found.step()
    tell(one.id, 1001.0, 1)
    found.step()
    seen = [(row[1], row[4]) for row in rows(spool, "equity") if row[0] == one.id]
    zero, later = micros(MORNING), micros(MORNING + timedelta(minutes=1))
    assert seen == [(zero, 1000.0), (zero, 1001.0), (later, 1001.0)]


def test_one_that_has_told_nothing_or_has_seen_no_price_is_no_row(stack: RunningStack, spool: Spool) -> None:
    found, silent, new = sampler(spool), portfolio(), portfolio()
    tell(new.id, 1000.0, 0, event_time=datetime(1970, 1, 1, tzinfo=UTC).isoformat())
    found.step()
    assert [row for row in rows(spool, "equity") if row[0] in (silent.id, new.id)] == []


def test_positions_are_as_of_a_checkpoint_and_one_that_is_closed_says_so(spool: Spool) -> None:
    found, row = sampler(spool), portfolio()
    kernel = Kernel(row.id, parse(config()), rules_for("cn"), to_units(10**6))

    def save(number: int) -> None:
        Checkpoint.objects.filter(portfolio=row).update(
            state=kernel.snapshot(), saved_at=datetime.now(UTC) + timedelta(seconds=number)
        )

    kernel.apply(tick(1), Cause(TOPIC, 0, 1))
    kernel.apply(fill(1, "o1", row.id, volume=300), Cause("f", 0, 0))
    save(0)
    found.take_positions([row.id])
    found.take_positions([row.id])  # nothing new
    kernel.adjust_position(CODE, -300, to_units(10))
    kernel.apply(tick(2), Cause(TOPIC, 0, 2))
    save(1)
    found.take_positions([row.id])
    found._flush()
    held = [(each[1], each[2], each[3]) for each in rows(spool, "positions")]
    assert held == [(CODE, micros(tick(1).timestamp), 300), (CODE, micros(tick(2).timestamp), 0)]


def test_redis_or_the_database_being_away_costs_samples_and_nothing_else(
    spool: Spool, settings: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    portfolio()

    def away() -> object:
        raise livestate.RedisUnavailable("it is away")

    monkeypatch.setattr(livestate, "client", away)
    sampler(spool).step()
    assert spool.rows == 0
