"""Export and import: what goes out comes in again, and what somebody spoilt does not (SPEC P9)."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as some
from hypothesis.extra.django import TestCase as HypothesisTestCase

from portfolios import accounts, checkpoints, services, transfer
from portfolios.errors import Conflict, InvalidConfig, Unconfirmed
from portfolios.kernel import state as snapshots
from portfolios.kernel.config import parse
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.orders import Order
from portfolios.kernel.portfolio import Portfolio as Kernel
from portfolios.kernel.rules import rules_for
from portfolios.models import Adjustment, Assignment, Checkpoint, LedgerEntry, Portfolio, Revision
from tests.portfolios.test_configs import GOOD

pytestmark = pytest.mark.django_db
CODES = ("600519.SH", "000001.SZ")
BUSY: dict[str, Any] = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 1, "long_period": 2}},
    "risk_managements": [{"name": "MaxDrawdownRisk", "params": {"max_drawdown": 30}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 9500}},
    "codes": list(CODES),
    "policy": {"pyramiding": True},
}
BEGINNING = datetime(2024, 1, 2, 2, 0, tzinfo=UTC)


def owner() -> User:
    return User.objects.filter(username="owner").first() or User.objects.create_superuser("owner", password=None)


def lived(prices: list[tuple[int, float]], answers: str = "f" * 100) -> Portfolio:
    """A portfolio that saw these prices (which code, what price), its n-th order filled (f), refused (r) or left open
    (o) as the n-th letter says; stopped and nobody's, with its checkpoint."""
    made = services.create("First", owner(), "cn", 1_000_000, BUSY)
    kernel = Kernel(made.id, parse(BUSY, "cn"), rules_for("cn"), to_units(1_000_000))
    orders, pseq = 0, 0
    for number, (code, price) in enumerate(prices):
        tick = PriceUpdate(code=CODES[code], timestamp=BEGINNING + timedelta(hours=3 * number), price=price)
        for order in kernel.apply(tick, Cause("ginkgo.live.market.data", code, number)):
            if not isinstance(order, Order):
                continue  # a cancel that nobody answers either
            answer = answers[orders % len(answers)]
            orders += 1
            if answer != "o":
                pseq += 1
                kernel.apply(answered(order, pseq, price, tick.timestamp, answer), Cause("f", 0, pseq))
    save = checkpoints.Save(
        portfolio_id=made.id, epoch=0, state=kernel.snapshot(), pseq=pseq, config_version=1, incarnation=0,
        offsets={"ginkgo.live.orders.feedback": {3: 9}}, topic_ids={},
    )  # fmt: skip
    assert checkpoints.save([save], timezone.now()) == set()
    return made


def answered(order: Order, pseq: int, price: float, at: datetime, answer: str) -> Feedback:
    facts: dict[str, Any] = {
        "timestamp": at, "order_id": order.order_id, "portfolio_id": order.portfolio_id, "seq": 1, "pseq": pseq,
    }  # fmt: skip
    if answer == "r":
        return Feedback(event_type="order_rejected", status="rejected", reason="order_rate", **facts)
    return Feedback(
        event_type="order_filled", status="filled", fill_id=f"f{pseq}", code=order.code, direction=order.direction,
        filled_volume=order.volume, remaining_volume=0, filled_price=price,
        filled_amount=round(order.volume * price, 2), commission=5.0, tax=0.1, **facts,
    )  # fmt: skip


UPS_AND_DOWNS = [(n % 2, 10 + (n // 2 % 2) / 10 + n / 100) for n in range(20)]


def state_of(portfolio: Portfolio) -> snapshots.PortfolioState:
    return snapshots.decode(bytes(Checkpoint.objects.get(portfolio=portfolio).state))


def books_of(portfolio: Portfolio) -> Any:
    """Cash, positions and profit, and what the components remember: all but what belongs to the one portfolio."""
    state = state_of(portfolio)
    state.incarnation = state.pseq = 0
    return json.loads(snapshots.encode(state))


def exported(portfolio: Portfolio) -> Any:
    """As it comes out of a file."""
    return json.loads(json.dumps(services.export_portfolio(portfolio.id, with_state=True)))


def entry_cash(portfolio: Portfolio) -> Decimal:
    moved = LedgerEntry.objects.filter(portfolio=portfolio).values_list("cash_change", flat=True)
    return sum(moved, Decimal(portfolio.initial_cash))


# -- there and back ----------------------------------------------------------------------------------------------------


def test_with_its_state_it_comes_back_as_another_with_the_same_books() -> None:
    first = lived(UPS_AND_DOWNS)
    assert state_of(first).ledger.positions and state_of(first).ledger.fees
    second = services.import_portfolio(exported(first), owner())
    assert second.id != first.id
    assert books_of(second) == books_of(first)
    assert services.get_positions(second.id) == services.get_positions(first.id)
    assert Revision.objects.get(portfolio=second).change == "imported"
    row = Checkpoint.objects.get(portfolio=second)
    assert (row.pseq, row.offsets, row.incarnation, row.config_version) == (0, {}, 0, 1)


def test_what_was_brought_is_in_the_ledger_for_the_engine_to_go_by() -> None:
    second = services.import_portfolio(exported(lived(UPS_AND_DOWNS)), owner())
    ledger = state_of(second).ledger
    assert entry_cash(second) == to_decimal(ledger.cash)
    volumes: dict[str, int] = {}
    for entry in LedgerEntry.objects.filter(portfolio=second).exclude(code=""):
        volumes[entry.code] = volumes.get(entry.code, 0) + entry.direction * entry.volume
    assert volumes == {code: position.volume for code, position in ledger.positions.items()}
    assert {a.state for a in Adjustment.objects.filter(portfolio=second)} == {"applied"}
    services.deposit(second.id, 5, "goes on", owner())
    assert entry_cash(second) == to_decimal(state_of(second).ledger.cash)


def test_a_file_that_an_editor_has_put_in_another_order_brings_as_much() -> None:
    first = lived(UPS_AND_DOWNS)
    tidied = json.loads(json.dumps(exported(first), sort_keys=True, indent=4))
    assert books_of(services.import_portfolio(tidied, owner())) == books_of(first)


def test_a_component_that_the_file_no_longer_configures_the_same_begins_anew() -> None:
    first = lived(UPS_AND_DOWNS)
    document = exported(first)
    document["portfolio"]["config"]["risk_managements"][0]["params"]["max_drawdown"] = 20
    second = services.import_portfolio(document, owner())
    assert books_of(second)["components"]["risks"][0][2] == {"peak": 0, "tripped": None}
    assert books_of(second)["watches"] == books_of(first)["watches"]


def test_open_orders_stay_with_the_portfolio_whose_they_are() -> None:
    first = lived(UPS_AND_DOWNS, answers="ffo")
    before = state_of(first).ledger
    assert before.orders and (before.frozen or any(p.frozen for p in before.positions.values()))
    document = exported(first)
    assert transfer.open_orders_of(document) == len(before.orders)
    ledger = state_of(services.import_portfolio(document, owner())).ledger
    assert (ledger.orders, ledger.frozen) == ({}, 0)
    assert [p.frozen for p in ledger.positions.values()] == [0] * len(ledger.positions)
    assert (ledger.cash, ledger.realised) == (before.cash, before.realised)


class AtRandom(HypothesisTestCase):
    @settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(
        prices=some.lists(
            some.tuples(some.integers(0, 1), some.integers(950, 1050).map(lambda p: p / 100)), max_size=30
        ),
        answers=some.text("frro", min_size=1, max_size=6),
    )
    def test_whatever_it_has_lived_through_goes_round(self, prices: list[tuple[int, float]], answers: str) -> None:
        first = lived(prices, answers)
        document = exported(first)
        assert transfer.faults_of(document) == []
        second = services.import_portfolio(document, owner())
        again = exported(second)
        third = services.import_portfolio(again, owner())
        assert books_of(third) == books_of(second)
        assert entry_cash(second) == to_decimal(state_of(second).ledger.cash)
        # What each decides next is the same, but for the orders that the first has out.
        if not state_of(first).ledger.orders:
            assert books_of(second) == books_of(first)


# -- in the place of another -------------------------------------------------------------------------------------------


def test_a_state_replaces_that_of_a_stopped_one_and_every_difference_is_in_the_ledger() -> None:
    first, other = lived(UPS_AND_DOWNS), lived([(0, 10.0), (0, 10.2), (0, 10.1), (0, 10.4)])
    before = Checkpoint.objects.get(portfolio=other)
    held, cash = state_of(other).ledger.positions, state_of(other).ledger.cash
    assert services.import_portfolio(exported(first), portfolio_id=other.id, author=owner()).id == other.id
    after = Checkpoint.objects.get(portfolio=other)
    assert (after.pseq, after.incarnation) == (before.pseq, before.incarnation + 1)
    assert (state_of(other).pseq, state_of(other).incarnation) == (after.pseq, after.incarnation)
    assert after.offsets == {"ginkgo.live.orders.feedback": {"3": 9}}
    assert books_of(other) == books_of(first)
    changes = LedgerEntry.objects.filter(portfolio=other, kind="import")
    assert sum(e.cash_change for e in changes) == to_decimal(state_of(first).ledger.cash - cash)
    for code in CODES:
        moved = sum(e.direction * e.volume for e in changes.filter(code=code))
        now = state_of(first).ledger.positions.get(code)
        assert moved == (now.volume if now else 0) - (held[code].volume if code in held else 0)


def test_offsets_of_prices_go_for_another_state_has_not_seen_them() -> None:
    first = lived(UPS_AND_DOWNS)
    Checkpoint.objects.filter(portfolio=first).update(offsets={"ginkgo.live.market.data": {"1": 4}, "f": {"0": 2}})
    services.import_portfolio(exported(first), portfolio_id=first.id, author=owner())
    assert Checkpoint.objects.get(portfolio=first).offsets == {"f": {"0": 2}}


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda p: Portfolio.objects.filter(pk=p.pk).update(desired_state="running"), "is not stopped"),
        (lambda p: Assignment.objects.filter(portfolio=p).update(node_id="n"), "is not stopped"),
    ],
)
def test_a_running_one_keeps_its_state(spoil: Callable[[Portfolio], Any], says: str) -> None:
    first = lived(UPS_AND_DOWNS)
    document = exported(first)
    spoil(first)
    document["portfolio"]["config"] = GOOD
    with pytest.raises(Conflict, match=says):
        services.import_portfolio(document, portfolio_id=first.id, author=owner())
    assert services.get(first.id).version == 1


def test_one_with_orders_out_keeps_its_state_too() -> None:
    first = lived(UPS_AND_DOWNS, answers="o")
    with pytest.raises(Conflict, match="has open orders"):
        services.import_portfolio(exported(first), portfolio_id=first.id, author=owner())


def test_without_a_state_only_the_config_changes_running_or_not() -> None:
    first = lived(UPS_AND_DOWNS)
    Assignment.objects.filter(portfolio=first).update(node_id="n")
    before = bytes(Checkpoint.objects.get(portfolio=first).state)
    document = services.export_portfolio(first.id)
    document["portfolio"]["config"] = {**BUSY, "codes": ["600000.SH"]}
    assert services.import_portfolio(document, portfolio_id=first.id, author=owner()).version == 2
    assert bytes(Checkpoint.objects.get(portfolio=first).state) == before


def test_another_markets_is_refused() -> None:
    first = lived([])
    dollars = services.create("US", owner(), "us", 1000, {**GOOD, "codes": ["AAPL.US"]})
    with pytest.raises(Conflict, match="the export is of market us"):
        services.import_portfolio(services.export_portfolio(dollars.id), portfolio_id=first.id)


# -- accounts ----------------------------------------------------------------------------------------------------------


def test_it_never_brings_its_account_along() -> None:
    accounts.create("real", owner(), kind="live", broker="acme")
    live = services.create("Real", owner(), "cn", 1000, GOOD, account="real", confirmed=True)
    document = services.export_portfolio(live.id)
    assert document["portfolio"]["account"]["kind"] == "live"
    assert services.import_portfolio(document, owner()).account.kind == "paper"
    with pytest.raises(Unconfirmed):
        services.import_portfolio(document, owner(), account="real")
    assert services.import_portfolio(document, owner(), account="real", confirmed=True).account.name == "real"


# -- what somebody spoilt ----------------------------------------------------------------------------------------------


def put(path: str, value: Any) -> Callable[[Any], None]:
    """Sets what is at a dotted path; `...` takes it away."""

    def spoil(document: Any) -> None:
        *parents, last = path.split("/")
        place = document
        for name in parents:
            place = place[int(name)] if isinstance(place, list) else place[name]
        if value is ...:
            del place[last]
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return spoil


P = "state/ledger/positions/000001.SZ"
SPOILT: list[tuple[Callable[[Any], None], str]] = [
    (put("ginkgo_export", 2), "ginkgo_export"),
    (put("portfolio", "x"), "ginkgo_export"),
    (put("colour", "red"), "colour"),
    (put("portfolio/colour", "red"), "portfolio.colour"),
    (put("portfolio/name", ...), "portfolio.name"),
    (put("portfolio/name", ""), "name"),
    (put("portfolio/market", "mars"), "market"),
    (put("portfolio/market", "us"), "codes[0]"),
    (put("portfolio/initial_cash", "-1"), "initial_cash"),
    (put("portfolio/config/strategy/params/short_period", 9), "strategy.params.short_period"),
    (put("portfolio/config/codes", []), "codes"),
    (put("state", []), "state"),
    (put("state/v", 2), "state.v"),
    (put("state/v", "1"), "state.v"),
    (put("state/ledger", ...), "state.ledger"),
    (put("state/colour", "red"), "state.colour"),
    (put("state/now", "yesterday"), "state.now"),
    (put("state/pseq", -1), "state.pseq"),
    (put("state/day", 10**9), "state.day"),
    (put("state/ledger/cash", 1.5), "state.ledger.cash"),
    (put("state/ledger/cash", 10**30), "state.ledger"),
    (put("state/ledger/cash", 7), "state.ledger"),
    (put("state/ledger/value", 7), "state.ledger.value"),
    (put("state/ledger/frozen", 7), "state.ledger.frozen"),
    (put("state/ledger/positions", []), "state.ledger.positions"),
    (put(f"{P}/volume", "many"), "state.ledger.positions.000001.SZ.volume"),
    (put(f"{P}/volume", 0), "state.ledger.positions.000001.SZ.volume"),
    (put(f"{P}/locked", -1), "state.ledger.positions.000001.SZ"),
    (put(f"{P}/code", "600000.SH"), "state.ledger.positions.000001.SZ.code"),
    (put(f"{P}/multiplier", 300), "state.ledger.positions.000001.SZ"),
    (put("state/watches", {}), "state.watches"),
    (put("state/watches/0", ["000001.SZ"]), "state.watches[0]"),
    (put("state/watches/0/2", "dear"), "state.watches[0].price"),
    (put("state/watches/0/1", -4), "state.watches[0].day"),
    (put("state/watches/0/0", "000001.SZ"), "state.watches[1].code"),
    (put("state/watches/0/7", "no memory"), "state.components"),
    (put("state/components/strategy", 5), "state.components.strategy"),
    (put("state/cancels", [{"number": 1}]), "state.cancels[0].cancel"),
]


@pytest.fixture(scope="module")
def document() -> Any:
    """One that is good; made once, outside of any test's database."""
    kernel = Kernel("00000000-0000-0000-0000-000000000001", parse(BUSY, "cn"), rules_for("cn"), to_units(1_000_000))
    pseq = 0
    for number, (code, price) in enumerate(UPS_AND_DOWNS):
        tick = PriceUpdate(code=CODES[code], timestamp=BEGINNING + timedelta(hours=3 * number), price=price)
        for order in kernel.apply(tick, Cause("t", code, number)):
            assert isinstance(order, Order)
            pseq += 1
            kernel.apply(answered(order, pseq, price, tick.timestamp, "f"), Cause("f", 0, pseq))
    assert "000001.SZ" in kernel.positions
    inner = {"name": "F", "market": "cn", "initial_cash": "1000000", "config": BUSY}
    return {"ginkgo_export": 1, "portfolio": inner, "state": json.loads(kernel.snapshot())}


def test_the_document_that_is_spoilt_below_is_good(document: Any) -> None:
    assert transfer.faults_of(document) == []


@pytest.mark.parametrize(("spoil", "path"), SPOILT, ids=[f"{n}-{path}" for n, (_, path) in enumerate(SPOILT)])
def test_each_fault_of_a_file_is_told_with_its_path_and_nothing_is_written(
    document: Any, spoil: Callable[[Any], None], path: str
) -> None:
    spoilt = copy.deepcopy(document)
    spoil(spoilt)
    with pytest.raises(InvalidConfig) as raised:
        services.import_portfolio(spoilt, owner())
    assert path in [fault.path for fault in raised.value.faults]
    assert not Portfolio.objects.exists() and not Adjustment.objects.exists()


def test_all_faults_of_a_file_are_told_at_once(document: Any) -> None:
    spoilt = copy.deepcopy(document)
    for path in ("portfolio/colour", "state/now", "state/ledger/cash", "state/watches/0/2", f"{P}/volume"):
        put(path, "spoilt")(spoilt)
    put("portfolio/config/strategy/params/short_period", 0)(spoilt)
    found = [fault.path for fault in transfer.faults_of(spoilt)]
    assert found == [
        "portfolio.colour", "strategy.params.short_period", "state.now", "state.ledger.cash",
        "state.ledger.positions.000001.SZ.volume", "state.watches[0].price",
    ]  # fmt: skip


@pytest.mark.parametrize("document", [None, [], "x", 3, {}, {"portfolio": {}}, {"ginkgo_export": 1}])
def test_what_is_no_export_at_all_is_one_fault(document: Any) -> None:
    assert [fault.path for fault in transfer.faults_of(document)] == ["ginkgo_export"]
