"""One comparison after another on the books of engine and simulated exchange (SPEC M6): what is in flight, what is
wrong, what becomes of it, and who compares."""

from __future__ import annotations

import importlib
import json
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.apps import apps
from django.core.management import CommandError, call_command

from market import reconciliation_report
from market.brokers.port import BrokerUnavailable, Holdings
from market.models import BrokerFill, Fill, Mismatch, Order, ReconciliationRun
from market.reconciliation_round import Round, look, settle
from market.reconciliation_watch import ReconciliationWatch, want
from portfolios import services
from portfolios.kernel.money import to_units
from portfolios.models import Assignment, Checkpoint, Portfolio
from tests.market.desk_support import NOW, Market, make_desk, make_portfolio, submission
from tests.portfolios.test_configs import GOOD

pytestmark = [pytest.mark.django_db, pytest.mark.servers]
CODE = "600519.SH"


class Scene:
    """A portfolio that has bought 100 at 10, and knows it."""

    def __init__(self) -> None:
        self.market = Market()
        self.desk = make_desk(self.market)
        self.portfolio = make_portfolio()
        self.buy()
        self.know()

    def buy(self, booked: bool = True) -> None:
        order = submission(self.portfolio)
        self.desk.receive([order], NOW)
        self.market.trade(10.0)
        if booked:
            self.desk.absorb([order.order_id])

    def know(self, cash: int = 0, volume: int = 0) -> None:
        """Its checkpoint says what its fills do, but for so many units of cash and so much volume."""
        fills = list(Fill.objects.filter(portfolio=self.portfolio))
        spent = sum(to_units(each.amount + each.commission + each.tax) for each in fills)
        held = sum(each.volume for each in fills) + volume
        ledger = {"cash": to_units(self.portfolio.initial_cash) - spent + cash, "positions": {CODE: {"volume": held}}}
        told = max(each.pseq for each in fills)
        state = json.dumps({"ledger": ledger, "v": 1}).encode()
        Checkpoint.objects.filter(portfolio=self.portfolio).update(state=state, pseq=told)

    def look(self) -> Round:
        return look("simulation", self.market)

    def rounds(self, number: int) -> None:
        for _ in range(number):
            settle("simulation", self.look(), NOW, self.market.alerts)

    @property
    def alerts(self) -> list[str]:
        return [kind for kind, _ in self.market.alerts.raised]


@pytest.fixture
def scene() -> Scene:
    return Scene()


def test_books_that_agree_differ_in_nothing(scene: Scene) -> None:
    made = scene.look()
    assert made.found == {}
    assert made.compared == {("portfolio", scene.portfolio.id), ("account", scene.portfolio.account_id)}


def test_a_fill_that_is_told_and_not_yet_booked_by_the_portfolio_is_in_flight(scene: Scene) -> None:
    scene.buy()
    assert Fill.objects.count() == 2
    assert scene.look().found == {}


def test_a_fill_of_the_brokers_that_the_engine_has_yet_to_hear_of_is_in_flight(scene: Scene) -> None:
    scene.buy(booked=False)
    assert (BrokerFill.objects.count(), Fill.objects.count()) == (2, 1)
    assert scene.look().found == {}
    Order.objects.update(state="cancelled")  # of an order that is over by our books nothing is awaited
    assert {key.scope for key in scene.look().found} == {"account"}


def test_deposits_and_corrections_count_on_every_side(scene: Scene) -> None:
    other = make_portfolio()
    Portfolio.objects.filter(pk=other.pk).update(config=GOOD, version=1)
    Assignment.objects.filter(portfolio=other).update(node_id="")
    services.deposit(other.id, "12.5", "more", other.owner)
    services.correct_position(other.id, CODE, 200, "a gift", "10.25", other.owner)
    made = scene.look()
    assert made.found == {}
    assert ("portfolio", other.id) in made.compared


def test_a_difference_is_alerted_once_and_resolved_when_it_is_gone(scene: Scene) -> None:
    scene.know(cash=1, volume=-100)
    scene.rounds(1)
    assert (scene.alerts, {row.state for row in Mismatch.objects.all()}) == ([], {"suspected"})
    scene.rounds(3)
    assert sorted(scene.alerts) == ["cash_mismatch", "position_mismatch"]
    position = Mismatch.objects.get(kind="position")
    assert (position.expected, position.actual, position.code, position.state) == (100, 0, CODE, "open")
    assert position.pseq == Fill.objects.get().pseq
    assert any(
        "holds 0 of 600519.SH by its own books, 100 by its fills" in text for _, text in scene.market.alerts.raised
    )
    cash = Mismatch.objects.get(kind="cash")
    assert cash.actual - cash.expected == Decimal("0.0001")
    scene.know()
    scene.rounds(1)
    assert {(row.state, row.standing) for row in Mismatch.objects.all()} == {("resolved", None)}
    scene.know(volume=7)
    scene.rounds(2)
    assert len(scene.alerts) == 3


def test_what_one_comparison_found_and_the_next_did_not_leaves_nothing_behind(scene: Scene) -> None:
    scene.know(volume=100)
    scene.rounds(1)
    scene.know()
    scene.rounds(1)
    assert (scene.alerts, Mismatch.objects.count()) == ([], 0)


def test_one_that_changes_is_alerted_anew_and_nobody_has_acknowledged_that(scene: Scene) -> None:
    scene.know(volume=100)
    scene.rounds(2)
    Mismatch.objects.update(acknowledged_by="root", acknowledged_at=NOW)
    scene.rounds(1)
    assert Mismatch.objects.get().acknowledged_by == "root"
    scene.know(volume=300)
    scene.rounds(2)
    assert scene.alerts == ["position_mismatch"] * 2
    assert (Mismatch.objects.get().acknowledged_by, Mismatch.objects.get().actual) == ("", 400)


def test_while_the_broker_is_away_portfolios_are_compared_and_what_stood_stands(scene: Scene) -> None:
    BrokerFill.objects.update(volume=50)
    scene.rounds(2)
    assert scene.alerts == ["position_mismatch"]

    def away(_: Any) -> Holdings:
        raise BrokerUnavailable("gone")

    scene.market.holdings = away  # type: ignore[method-assign]
    made = scene.look()
    assert (made.away, made.skipped) == ("gone", {("account", scene.portfolio.account_id)})
    assert ("portfolio", scene.portfolio.id) in made.compared
    scene.rounds(1)
    assert Mismatch.objects.get().state == "open"


def test_an_account_that_never_stands_still_is_left_for_the_next_time(scene: Scene) -> None:
    amounts = iter(range(100))
    scene.market.holdings = lambda _ids: Holdings(next(amounts), {})  # type: ignore[method-assign]
    assert scene.look().skipped == {("account", scene.portfolio.account_id)}


def test_a_checkpoint_that_cannot_be_read_stops_nobody(scene: Scene) -> None:
    Checkpoint.objects.filter(portfolio=make_portfolio()).update(state=b"{]")
    made = scene.look()
    assert (len(made.compared), len(made.skipped)) == (2, 1)


class TestWhoCompares:
    def watch(self, scene: Scene, outages: list[int] | None = None) -> ReconciliationWatch:
        count = outages if outages is not None else [0]
        return ReconciliationWatch(scene.market, scene.market.alerts, 60.0, lambda: count[0])

    def test_each_engine_does_at_its_start_and_then_one_of_them_each_interval(self, scene: Scene) -> None:
        one, other = self.watch(scene), self.watch(scene)
        assert one.step(NOW) is not None
        assert other.step(NOW + timedelta(seconds=1)) is not None
        assert one.step(NOW + timedelta(seconds=60)) is None
        assert other.step(NOW + timedelta(seconds=61)) is not None
        assert one.step(NOW + timedelta(seconds=61)) is None

    def test_it_looks_again_soon_when_something_new_was_found(self, scene: Scene) -> None:
        watch = self.watch(scene)
        scene.know(volume=1)
        assert watch.step(NOW) is not None
        ReconciliationRun.objects.update(done_at=NOW)
        assert watch.step(NOW + timedelta(seconds=1)) is None
        assert watch.step(NOW + timedelta(seconds=2)) is not None
        assert scene.alerts == ["position_mismatch"]
        assert watch.step(NOW + timedelta(seconds=10)) is None

    def test_it_does_when_the_broker_has_come_back_and_when_somebody_asks(self, scene: Scene) -> None:
        outages = [0]
        watch = self.watch(scene, outages)
        watch.step(NOW)
        assert watch.step(NOW + timedelta(seconds=1)) is None
        outages[0] += 1
        assert watch.step(NOW + timedelta(seconds=1)) is not None
        want("simulation", NOW + timedelta(seconds=2))
        assert watch.step(NOW + timedelta(seconds=3)) is not None
        assert watch.step(NOW + timedelta(seconds=4)) is None


class TestTheCommand:
    def test_books_that_agree_are_one_line(self, scene: Scene, capsys: pytest.CaptureFixture[str]) -> None:
        call_command("reconcile")
        assert "1 portfolios and 0 accounts compared: all books agree" in capsys.readouterr().out

    def test_differences_are_a_table_of_eighty_columns_and_exit_code_1(
        self, scene: Scene, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setattr(reconciliation_report, "_APART", 0.0)
        scene.know(cash=-10_000, volume=12)
        with pytest.raises(CommandError) as raised:
            call_command("reconcile")
        assert raised.value.returncode == 1
        said = capsys.readouterr()
        assert "no engine answers" in said.err
        assert max(map(len, said.out.splitlines())) <= 80
        assert all(word in said.out for word in (CODE, "112", "100", "cash"))
        with pytest.raises(CommandError):
            call_command("reconcile", "--json")
        found = json.loads(capsys.readouterr().out)
        assert [(each["kind"], each["difference"]) for each in found["differences"]] == [
            ("cash", -1.0),
            ("position", 12.0),
        ]


def test_fills_of_before_get_the_number_of_their_feedback(scene: Scene) -> None:
    number = Fill.objects.get().pseq
    assert number > 0
    Fill.objects.update(pseq=0)
    importlib.import_module("market.migrations.0002_reconciliation").number_fills(apps, None)
    assert Fill.objects.get().pseq == number
