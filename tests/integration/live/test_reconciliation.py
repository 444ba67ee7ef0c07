"""Reconciliation on real processes: trading, deposits and corrections agree; what is falsified is found once (M6)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models import F

from market.messages import PriceUpdate
from market.models import BrokerFill, FeedbackCounter, Fill, Mismatch, Order, ReconciliationRun
from market.models.order import TERMINAL
from portfolios.models import Checkpoint
from tests.market.engine_support import engine
from tests.support import eventually
from tests.support.cluster import ALIAS, Cluster, NodeProcess
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

NewCode = Callable[[int | None], str]


class Desk:
    """A portfolio that trades one code, and what the database says of it."""

    def __init__(self, cluster: Cluster, node_id: str, code: str) -> None:
        self.cluster, self.code, self.days = cluster, code, 0
        momentum = {"period": 1, "buy_above": 0.3, "sell_below": -0.3}
        self.id = cluster.portfolio(
            {
                "strategy": {"name": "MomentumStrategy", "params": momentum},
                "sizer": {"name": "FixedAmountSizer", "params": {"amount": 20_000}},
                "codes": [code],
                "policy": {"pyramiding": True},
            },
            node_id,
            cash=1_000_000,
        )
        self.row = cluster.row(self.id)
        eventually(lambda: cluster.status(self.id) == "running", 20, saying="the portfolio running")

    def trade(self, days: int) -> None:
        """A close each weekday, up and down: every other time it buys more, or sells what it knows that it has."""
        ticks = []
        for _ in range(days):
            self.days += 1
            at = datetime(2024, 3, 4, 7, 0, tzinfo=UTC) + timedelta(weeks=self.days // 5, days=self.days % 5)
            price = 10.0 + 0.1 * (self.days % 2)
            ticks.append(PriceUpdate(code=self.code, timestamp=at, price=price, prev_close=10.0))
        before = self.rows(Fill).count()
        self.cluster.feed(ticks)
        eventually(lambda: self.rows(Fill).count() >= before + days // 4, 30, saying="it trades")
        self.settle()

    def settle(self) -> None:
        """Until all that was told is in its checkpoint."""

        def settled() -> bool:
            told = self.rows(FeedbackCounter).get().pseq
            working = self.rows(Order).exclude(state__in=TERMINAL).count()
            return working <= 2 and told == self.rows(Checkpoint).get().pseq

        eventually(settled, 20, saying="everything booked")

    def rows(self, model: Any) -> Any:
        return model.objects.using(ALIAS).filter(portfolio_id=self.id)

    def mismatches(self, **having: Any) -> list[Mismatch]:
        """Its own and its account's, oldest first."""
        rows = Mismatch.objects.using(ALIAS).filter(account_id=self.row.account_id, **having)
        return list(rows.filter(portfolio_id__in=[self.id]) | rows.filter(portfolio=None))


@pytest.fixture
def desk(cluster: Cluster, node: NodeProcess, stack: RunningStack, new_code: NewCode) -> Iterator[Desk]:
    with engine(stack, GINKGO_ENGINE__RECONCILE_INTERVAL="0.5"), cluster.db():
        yield Desk(cluster, node.node_id, new_code(None))


def compared(times: int) -> None:
    """Until the engine has compared so often, from now on."""
    for _ in range(times):
        row = ReconciliationRun.objects.using(ALIAS).get(broker="simulation")
        eventually(lambda since=row.started_at: _done_since(since), 20, saying="another comparison")  # type: ignore[misc]


def _done_since(moment: datetime) -> bool:
    rows = ReconciliationRun.objects.using(ALIAS).filter(started_at__gt=moment, done_at__gte=F("started_at"))
    return rows.exists()


def reported(stack: RunningStack, desk: Desk) -> list[dict[str, Any]]:
    """What `ginkgo reconcile` says of it; others may have left their books in disorder."""
    done = stack.run("reconcile", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == (1 if found["differences"] else 0), done.stderr
    assert [each["broker"] for each in found["brokers"] if each["accounts"]] == ["simulation"], done.stderr
    return [
        each
        for each in found["differences"]
        if each["portfolio_id"] == desk.id
        or (each["account_id"] == desk.row.account_id and each["portfolio_id"] is None)
    ]


@pytest.mark.slow
def test_books_agree_after_real_trading_and_what_is_falsified_is_alerted_once_and_resolved(
    cluster: Cluster, stack: RunningStack, desk: Desk
) -> None:
    # Trading, a deposit and a correction in its midst, compared twice a second: never a false alarm.
    desk.trade(10)
    desk.trade(10)
    assert stack.run("portfolio", "deposit", desk.id, "1234.56", "--reason", "a bonus").returncode == 0
    correct = ("--code", "600519.SH", "--volume", "100", "--price", "1500.5", "--reason", "in kind")
    assert stack.run("portfolio", "correct", desk.id, *correct).returncode == 0
    desk.trade(10)
    assert reported(stack, desk) == []
    assert desk.mismatches() == []
    assert set(desk.rows(Fill).values_list("direction", flat=True)) == {1, -1}

    # Its own book is falsified by hand.
    cluster.desire(desk.id, "stopped")
    eventually(lambda: cluster.status(desk.id) == "stopped", 20, saying="the portfolio stopped")
    true = bytes(desk.rows(Checkpoint).get().state)
    state = json.loads(true)
    state["ledger"]["cash"] += 70_000
    state["ledger"]["positions"]["600519.SH"]["volume"] -= 40
    desk.rows(Checkpoint).update(state=json.dumps(state).encode())
    eventually(lambda: len(desk.mismatches(state="open")) == 2, 20, saying="both differences found")
    found = {row.kind: row for row in desk.mismatches()}
    assert (found["position"].code, found["position"].expected, found["position"].actual) == ("600519.SH", 100, 60)
    assert found["cash"].actual - found["cash"].expected == 7
    compared(3)
    alerts = [alert for alert in cluster.alerts(desk.row.name) if alert.alert_type.endswith("_mismatch")]
    assert sorted(alert.alert_type for alert in alerts) == ["cash_mismatch", "position_mismatch"]
    assert {alert.severity for alert in alerts} == {"critical"}
    said = {(each["kind"], each["difference"]) for each in reported(stack, desk)}
    assert said == {("position", -40.0), ("cash", 7.0)}

    # Repaired, both are over; and then it is the broker's book that is wrong.
    desk.rows(Checkpoint).update(state=true)
    eventually(lambda: len(desk.mismatches(state="resolved")) == 2, 20, saying="both resolved")
    executions = BrokerFill.objects.using(ALIAS).filter(order__portfolio_id=desk.id)
    wrong = executions.first()
    assert wrong is not None
    executions.filter(pk=wrong.pk).update(amount=wrong.amount + Decimal("0.0001"))
    eventually(lambda: desk.mismatches(state="open"), 20, saying="the broker's difference found")
    (row,) = desk.mismatches(state="open")
    assert (row.scope, row.kind, row.portfolio_id) == ("account", "cash", None)
    assert abs(row.actual - row.expected) == Decimal("0.0001")
    executions.filter(pk=wrong.pk).update(amount=wrong.amount)
    eventually(lambda: len(desk.mismatches(state="resolved")) == 3, 20, saying="all resolved")
    alerts = [alert for alert in cluster.alerts("paper-cn") if alert.alert_type.endswith("_mismatch")]
    assert [alert.alert_type for alert in alerts] == ["cash_mismatch"]
