"""On a real database: SQLite, or the MariaDB of `make test-servers`."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from portfolios import checkpoints
from portfolios.checkpoints import Save
from portfolios.models import Assignment, Checkpoint, LedgerEntry, Portfolio, Revision

pytestmark = [pytest.mark.servers, pytest.mark.django_db]

TOPIC = "ginkgo.live.market.data"
STATE = bytes(range(256)) * 300
"""Any bytes at all, some 77 KB of them."""


@pytest.fixture(autouse=True)
def portfolios() -> None:
    user = User.objects.create_user("t")
    for name in ("p1", "p2", "p3"):
        made = Portfolio.objects.create(
            id=name, name=name, owner=user, initial_cash=Decimal("1000.5"), config={"a": 1}, version=2
        )
        Assignment.objects.create(portfolio=made, node_id="n1", epoch=5)
        Checkpoint.objects.create(portfolio=made, epoch=5)


def save_of(name: str, epoch: int = 5, state: bytes = STATE, **changes: object) -> Save:
    facts: dict[str, object] = {
        "pseq": 7, "offsets": {TOPIC: {3: 17, 9: 0}}, "topic_ids": {TOPIC: "id 'quoted' %s"}, "config_version": 2,
        "incarnation": 1,
    }  # fmt: skip
    return Save(portfolio_id=name, epoch=epoch, state=state, **{**facts, **changes})  # type: ignore[arg-type]


def entry(name: str, pseq: int, cash: str = "-1005") -> LedgerEntry:
    return LedgerEntry(
        portfolio_id=name, pseq=pseq, order_id="o", code="600519.SH", direction=1, volume=100, price=Decimal(10),
        fees=Decimal(5), cash_change=Decimal(cash), event_time=timezone.now(),
    )  # fmt: skip


def states() -> list[bytes]:
    return [bytes(row.state) for row in Checkpoint.objects.order_by("portfolio_id")]


def test_what_was_saved_is_loaded_exactly() -> None:
    now = timezone.now()
    assert checkpoints.save([save_of("p1")], now) == set()
    loaded = checkpoints.load("p1")
    assert loaded is not None
    assert (loaded.state, loaded.pseq, loaded.incarnation, loaded.checkpoint_version) == (STATE, 7, 1, 2)
    assert loaded.offsets == {TOPIC: {3: 17, 9: 0}}
    assert loaded.topic_ids == {TOPIC: "id 'quoted' %s"}
    assert (loaded.node_id, loaded.epoch, loaded.version) == ("n1", 5, 2)
    assert loaded.initial_cash == Decimal("1000.5")
    assert Checkpoint.objects.get(portfolio_id="p1").saved_at == now


def test_several_are_one_statement() -> None:
    several = [save_of(name, state=name.encode()) for name in ("p1", "p2", "p3")]
    with CaptureQueriesContext(connection) as queries:
        assert checkpoints.save(several, timezone.now()) == set()
    assert len(queries) == 1
    assert states() == [b"p1", b"p2", b"p3"]
    loaded = checkpoints.load("p2")
    assert loaded is not None
    assert loaded.offsets == {TOPIC: {3: 17, 9: 0}}


def test_one_that_is_lost_changes_nothing_and_is_named() -> None:
    assert checkpoints.save([save_of("p1", epoch=4)], timezone.now()) == {"p1"}
    assert checkpoints.save([save_of("nobody's")], timezone.now()) == {"nobody's"}
    assert states() == [b"", b"", b""]


def test_among_several_a_lost_one_is_left_out_whole_and_the_rest_commit() -> None:
    Checkpoint.objects.filter(portfolio_id="p2").update(epoch=6)
    several = [save_of(name, state=name.encode(), ledger=(entry(name, 1),)) for name in ("p1", "p2", "p3")]
    assert checkpoints.save(several, timezone.now()) == {"p2"}
    assert states() == [b"p1", b"", b"p3"]
    assert sorted(LedgerEntry.objects.values_list("portfolio_id", flat=True)) == ["p1", "p3"]


def test_an_epoch_of_the_future_is_not_ours_either() -> None:
    assert checkpoints.save([save_of("p1", epoch=6)], timezone.now()) == {"p1"}


def test_the_same_again_is_not_lost() -> None:
    """MySQL counts rows that an UPDATE left as they were differently, unless it is told to count what it found."""
    now = timezone.now()
    assert checkpoints.save([save_of("p1"), save_of("p2")], now) == set()
    assert checkpoints.save([save_of("p1"), save_of("p2")], now) == set()


def test_a_ledger_row_is_written_once() -> None:
    checkpoints.save([save_of("p1", ledger=(entry("p1", 1), entry("p1", 2)))], timezone.now())
    checkpoints.save([save_of("p1", ledger=(entry("p1", 2, "-9"), entry("p1", 3)))], timezone.now())
    assert list(LedgerEntry.objects.values_list("pseq", "cash_change")) == [
        (1, Decimal("-1005.0000")), (2, Decimal("-1005.0000")), (3, Decimal("-1005.0000")),
    ]  # fmt: skip


def test_state_and_ledger_are_saved_together_or_not_at_all() -> None:
    broken = entry("p1", 1)
    broken.price = "no price"  # type: ignore[assignment]
    with pytest.raises(ValidationError), transaction.atomic():
        checkpoints.save([save_of("p1", ledger=(broken,))], timezone.now())
    assert states()[0] == b""
    assert not LedgerEntry.objects.exists()


def test_nothing_to_save_asks_nothing() -> None:
    with CaptureQueriesContext(connection) as queries:
        assert checkpoints.save([], timezone.now()) == set()
    assert len(queries) == 0


def test_one_that_never_ran_is_loaded_without_a_state() -> None:
    loaded = checkpoints.load("p1")
    assert loaded is not None
    assert (loaded.state, loaded.offsets, loaded.checkpoint_config) == (b"", {}, None)


def test_loading_is_one_moment() -> None:
    with CaptureQueriesContext(connection) as queries:
        checkpoints.load("p1")
    assert len(queries) == 1


def test_nobodys_is_none() -> None:
    assert checkpoints.load("nobody's") is None


def test_a_checkpoint_of_an_older_version_comes_with_its_configuration() -> None:
    Revision.objects.create(portfolio_id="p1", version=1, config={"old": True})
    checkpoints.save([save_of("p1", config_version=1)], timezone.now())
    loaded = checkpoints.load("p1")
    assert loaded is not None
    assert (loaded.config, loaded.version) == ({"a": 1}, 2)
    assert (loaded.checkpoint_config, loaded.checkpoint_version) == ({"old": True}, 1)


def test_parked_it_keeps_all_but_the_markets_offsets() -> None:
    checkpoints.save([save_of("p1", offsets={TOPIC: {3: 17}, "feedback": {1: 4}})], timezone.now())
    loaded = checkpoints.load("p1")
    assert loaded is not None
    parked = checkpoints.parked(loaded, [TOPIC])
    assert parked.offsets == {"feedback": {1: 4}}
    assert checkpoints.save([parked], timezone.now()) == set()
    again = checkpoints.load("p1")
    assert again is not None
    assert (again.state, again.pseq, again.incarnation) == (STATE, 7, 1)
