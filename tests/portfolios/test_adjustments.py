"""Deposits, withdrawals and corrections of a portfolio that nobody runs; of one that runs, see tests/nodes."""

from __future__ import annotations

import threading
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest
from django.contrib.auth.models import User
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra.django import TestCase as HypothesisTestCase

from portfolios import adjustments, checkpoints, services
from portfolios.errors import Conflict, InvalidConfig, NotFound, PortfolioError, Refused
from portfolios.kernel import state as snapshots
from portfolios.kernel.money import to_decimal
from portfolios.models import Adjustment, Assignment, Checkpoint, LedgerEntry, Portfolio
from tests.portfolios.test_configs import GOOD

pytestmark = pytest.mark.django_db
MAOTAI, PINGAN = "600519.SH", "000001.SZ"


@pytest.fixture
def owner() -> User:
    return User.objects.create_superuser("owner", password=None)


@pytest.fixture
def portfolio(owner: User) -> Portfolio:
    return services.create("First", owner, "cn", 1000, GOOD)


def cash(portfolio: Portfolio) -> Decimal:
    return Decimal(services.get_status(portfolio.id)["cash"])


def held(portfolio: Portfolio) -> dict[str, int]:
    return {p["code"]: p["volume"] for p in services.get_positions(portfolio.id)}


def ledger_cash(portfolio: Portfolio) -> Decimal:
    """What the cash must be: what it began with, and all that the ledger says of it."""
    # Added up here: SQLite's own SUM is one of floats.
    return sum(
        LedgerEntry.objects.filter(portfolio=portfolio).values_list("cash_change", flat=True),
        Decimal(portfolio.initial_cash),
    )


def test_before_its_first_start_a_deposit_is_in_the_books_at_once(portfolio: Portfolio, owner: User) -> None:
    asked = services.deposit(portfolio.id, "250.75", "first money", owner)
    assert (asked.state, cash(portfolio)) == ("applied", Decimal("1250.75"))
    entry = LedgerEntry.objects.get()
    assert (entry.kind, entry.adjustment, entry.cash_change) == ("deposit", asked, Decimal("250.75"))
    (shown,) = services.list_adjustments(portfolio.id)
    assert (shown["author"], shown["reason"], shown["kind"]) == ("owner", "first money", "deposit")
    assert shown["requested_at"] <= shown["settled_at"]


def test_it_is_no_profit(portfolio: Portfolio, owner: User) -> None:
    services.deposit(portfolio.id, 500, "r", owner)
    services.correct_position(portfolio.id, MAOTAI, 100, "r", 10, owner)
    ledger = snapshots.decode(bytes(Checkpoint.objects.get(portfolio=portfolio).state)).ledger
    assert to_decimal(ledger.initial) == 1000 + 500 + 1000 == to_decimal(ledger.total_value)
    assert (ledger.realised, ledger.unrealised, ledger.fees) == (0, 0, 0)


def test_more_than_is_available_cannot_be_withdrawn_and_the_try_is_kept(portfolio: Portfolio, owner: User) -> None:
    with pytest.raises(Refused, match=r"^withdrawal refused: only 1000\.0000 CNY can be withdrawn$"):
        services.withdraw(portfolio.id, "1000.0001", "too much", owner)
    assert cash(portfolio) == 1000
    assert Adjustment.objects.get().state == "refused"
    assert not LedgerEntry.objects.exists()
    services.withdraw(portfolio.id, 1000, "all", owner)
    assert cash(portfolio) == 0 == ledger_cash(portfolio)


def test_cash_is_corrected_either_way(portfolio: Portfolio, owner: User) -> None:
    services.correct_cash(portfolio.id, "-0.0001", "a rounding", owner)
    services.correct_cash(portfolio.id, Decimal("3"), "interest", owner)
    assert cash(portfolio) == Decimal("1002.9999") == ledger_cash(portfolio)


def test_a_position_is_corrected_and_no_cash_moves(portfolio: Portfolio, owner: User) -> None:
    services.correct_position(portfolio.id, MAOTAI, 300, "a split", "12.5", owner)
    services.correct_position(portfolio.id, MAOTAI, "-100", "one too many", None, owner)
    (position,) = services.get_positions(portfolio.id)
    assert (position["volume"], position["available"], position["cost_price"]) == (200, 200, Decimal("12.5"))
    assert cash(portfolio) == 1000 == ledger_cash(portfolio)
    assert [(e.direction, e.volume, e.price) for e in LedgerEntry.objects.order_by("id")] == [
        (1, 300, Decimal("12.5")), (-1, 100, Decimal("12.5")),
    ]  # fmt: skip
    services.correct_position(portfolio.id, MAOTAI, -200, "none left", None, owner)
    assert held(portfolio) == {}


@pytest.mark.parametrize(
    ("volume", "price", "says"),
    [(-100, 10, "only 0 of 600519.SH are held"), (100, None, "at what price"), (10**12, 10**12, "cannot come to more")],
)
def test_a_correction_that_the_books_do_not_allow_is_refused(
    portfolio: Portfolio, owner: User, volume: int, price: int | None, says: str
) -> None:
    with pytest.raises(Refused, match=says):
        services.correct_position(portfolio.id, MAOTAI, volume, "r", price, owner)
    assert (held(portfolio), cash(portfolio)) == ({}, 1000)


BAD: list[tuple[str, Any]] = [
    ("amount", {"amount": "0"}),
    ("amount", {"amount": -5}),
    ("amount", {"amount": "much"}),
    ("amount", {"amount": None}),
    ("amount", {"amount": "0.00001"}),
    ("amount", {"amount": float("nan")}),
    ("amount", {"amount": 10**15}),
    ("reason", {"reason": " "}),
    ("reason", {"reason": None}),
    ("reason", {"reason": "x" * 301}),
    ("request_id", {"request_id": "17"}),
]


@pytest.mark.parametrize(("path", "changes"), BAD)
def test_a_faulty_request_is_not_even_kept(portfolio: Portfolio, owner: User, path: str, changes: Any) -> None:
    good = {"amount": 5, "reason": "r", "author": owner}
    for ask in (services.deposit, services.withdraw):
        with pytest.raises(InvalidConfig) as raised:
            ask(portfolio.id, **{**good, **changes})
        assert [fault.path for fault in raised.value.faults] == [path]
    assert not Adjustment.objects.exists()


def test_all_faults_at_once(portfolio: Portfolio) -> None:
    with pytest.raises(InvalidConfig) as raised:
        services.correct_position(portfolio.id, "AAPL.US", "1.5", "", price=0)
    assert [fault.path for fault in raised.value.faults] == ["code", "volume", "price", "reason"]


def test_nobodys_portfolio_and_nobody(portfolio: Portfolio) -> None:
    with pytest.raises(NotFound):
        services.deposit(str(uuid4()), 5, "r")
    with pytest.raises(NotFound, match="no user"):
        services.deposit(portfolio.id, 5, "r", "stranger")


def test_the_same_request_again_is_the_same(portfolio: Portfolio, owner: User) -> None:
    name = str(uuid4())
    for _ in range(3):
        services.deposit(portfolio.id, 5, "r", owner, request_id=name)
    assert cash(portfolio) == 1005
    with pytest.raises(Conflict, match="with other contents"):
        services.deposit(portfolio.id, 6, "r", owner, request_id=name)
    assert cash(portfolio) == 1005


def test_of_one_that_a_node_owns_it_waits_for_the_node(portfolio: Portfolio, owner: User) -> None:
    Assignment.objects.update(node_id="node-1")
    asked = services.deposit(portfolio.id, 5, "r", owner)
    assert (asked.state, cash(portfolio)) == ("pending", 1000)
    assert not services.settle(portfolio.id)
    assert services.wait_for(asked, 0).state == "pending"
    Assignment.objects.update(node_id="")
    assert services.wait_for(asked, 5).state == "applied"
    assert cash(portfolio) == 1005


def test_only_the_owner_of_today_can_refuse(portfolio: Portfolio, owner: User) -> None:
    Assignment.objects.update(node_id="node-1", epoch=4)
    asked = services.deposit(portfolio.id, 5, "r", owner)
    assert not adjustments.refuse(asked, "mine no more", 3)
    assert adjustments.refuse(asked, "no", 4)
    assert not adjustments.refuse(asked, "twice", 4)


def test_its_epoch_and_what_else_the_checkpoint_holds_stay(portfolio: Portfolio, owner: User) -> None:
    services.deposit(portfolio.id, 5, "r", owner)
    Assignment.objects.update(epoch=6)
    Checkpoint.objects.update(epoch=6, pseq=9, offsets={"f": {"1": 4}}, topic_ids={"f": "id"}, incarnation=2)
    before = checkpoints.load(portfolio.id)
    services.deposit(portfolio.id, 5, "r", owner)
    after = checkpoints.load(portfolio.id)
    assert before is not None and after is not None
    for name in ("epoch", "pseq", "offsets", "topic_ids", "incarnation", "checkpoint_version"):
        assert getattr(after, name) == getattr(before, name)
    assert cash(portfolio) == 1010


def test_a_config_changed_meanwhile_waits_for_the_next_start(portfolio: Portfolio, owner: User) -> None:
    services.deposit(portfolio.id, 5, "r", owner)
    services.update_config(portfolio.id, {**GOOD, "codes": [PINGAN]})
    services.deposit(portfolio.id, 5, "r", owner)
    assert Checkpoint.objects.get().config_version == 1
    assert cash(portfolio) == 1010


def test_books_that_cannot_be_opened_leave_nothing_behind(portfolio: Portfolio, owner: User) -> None:
    Checkpoint.objects.update(state=b"{]")
    with pytest.raises(Conflict, match="its books cannot be opened"):
        services.deposit(portfolio.id, 5, "r", owner)
    assert not Adjustment.objects.exists()


# -- opening positions -------------------------------------------------------------------------------------------------


def test_it_can_begin_with_positions_beside_its_cash(owner: User) -> None:
    positions = [
        {"code": MAOTAI, "volume": 100, "cost_price": "1500.5", "date": "2026-01-05"},
        {"code": "600000.SH", "volume": "300", "cost_price": 7},
    ]
    made = services.create("Second", owner, "cn", 1000, GOOD, positions=positions)
    assert held(made) == {MAOTAI: 100, "600000.SH": 300}
    assert cash(made) == 1000 == ledger_cash(made)
    entries = LedgerEntry.objects.filter(portfolio=made).order_by("id")
    assert [(e.kind, e.code, e.price) for e in entries] == [
        ("opening", MAOTAI, Decimal("1500.5")), ("opening", "600000.SH", Decimal(7)),
    ]  # fmt: skip
    assert [e.adjustment.held_since for e in entries] == [date(2026, 1, 5), None]
    assert {e.adjustment.author for e in entries} == {owner}


def test_every_fault_of_its_positions_is_told_with_the_configs_and_nothing_is_made(owner: User) -> None:
    tomorrow = (datetime.now(UTC) + timedelta(days=2)).date()
    positions = [
        {"code": "AAPL.US", "volume": 0, "cost_price": -1},
        {"code": MAOTAI, "volume": 100, "cost_price": 10, "date": "soon"},
        {"code": MAOTAI, "volume": 2.5, "cost_price": None, "date": tomorrow, "colour": "red"},
        "x",
        {"code": PINGAN, "volume": -100, "cost_price": 10},
    ]
    with pytest.raises(InvalidConfig) as raised:
        services.create("Second", owner, "cn", 1000, {**GOOD, "codes": []}, positions=positions)
    assert [fault.path for fault in raised.value.faults] == [
        "codes", "positions[0].code", "positions[0].volume", "positions[0].cost_price", "positions[1].date",
        "positions[2].colour", "positions[2].code", "positions[2].volume", "positions[2].cost_price",
        "positions[2].date", "positions[3]", "positions[4].volume",
    ]  # fmt: skip
    assert not Portfolio.objects.exists() and not Adjustment.objects.exists()


# -- at once, and at random --------------------------------------------------------------------------------------------


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_many_at_once_are_each_booked_once() -> None:
    owner = User.objects.create_superuser("owner", password=None)
    made = services.create("First", owner, "cn", 1000, GOOD)
    errors: list[BaseException] = []

    def ask(number: int) -> None:
        try:
            for _ in range(3):
                services.deposit(made.id, number, "at once", owner)
        except BaseException as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [
        threading.Thread(target=ask, args=(number,), name=f"asks-{number}") for number in (1, 10, 100, 1000, 10_000)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert errors == []
    assert cash(made) == 1000 + 3 * 11_111 == ledger_cash(made)


AMOUNTS = some.decimals(min_value="0.0001", max_value=2000, places=4)
STEPS = some.lists(
    some.one_of(
        some.tuples(some.just("deposit"), AMOUNTS),
        some.tuples(some.just("withdraw"), AMOUNTS),
        some.tuples(some.just("cash"), AMOUNTS.flatmap(lambda a: some.sampled_from([a, -a]))),
        some.tuples(some.just("position"), some.integers(-500, 500).filter(bool)),
    ),
    max_size=8,
)


class AtRandom(HypothesisTestCase):
    @settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(steps=STEPS)
    def test_cash_is_always_what_it_began_with_and_the_sum_of_the_ledger(self, steps: list[tuple[str, Any]]) -> None:
        owner = User.objects.create_superuser("owner", password=None)
        made = services.create("First", owner, "cn", 1000, GOOD)
        volume = 0
        for kind, much in steps:
            try:
                if kind == "deposit":
                    services.deposit(made.id, much, "r", owner)
                elif kind == "withdraw":
                    services.withdraw(made.id, much, "r", owner)
                elif kind == "cash":
                    services.correct_cash(made.id, much, "r", owner)
                else:
                    services.correct_position(made.id, MAOTAI, much, "r", 10, owner)
                    volume += much
            except PortfolioError as refusal:
                assert isinstance(refusal, Refused)
        assert cash(made) == ledger_cash(made)
        assert cash(made) >= 0
        assert held(made) == ({MAOTAI: volume} if volume else {})
        assert LedgerEntry.objects.count() == Adjustment.objects.filter(state="applied").count()
