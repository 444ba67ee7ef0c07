"""Rows as the platform would have written them, enough of each to fill an admin's page."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

from django.contrib.auth.models import User

from ginkgo_site.installation.seed import SAMPLES
from market.models import (
    BrokerFill,
    BrokerOrder,
    CancelRequest,
    FencedMessage,
    Fill,
    Mismatch,
    Order,
    OutboxMessage,
)
from market.models.order import OrderState
from portfolios import services
from portfolios.kernel import config as kernel_config
from portfolios.kernel.money import to_units
from portfolios.kernel.portfolio import Portfolio as KernelPortfolio
from portfolios.kernel.rules import rules_for
from portfolios.models import Adjustment, Assignment, Checkpoint, Command, LedgerEntry, Portfolio
from portfolios.models.fields import new_id

NOW = datetime(2026, 3, 2, 7, 0, tzinfo=UTC)


def administrator() -> User:
    found = User.objects.filter(username="root").first()
    return found or User.objects.create_superuser("root", password=None)


def portfolio(name: str, owner: User, *, ran: bool = True) -> Portfolio:
    """A portfolio on node-1 with a checkpoint as a node leaves it; `ran` False: as it was created."""
    made = services.create(name, owner, "cn", 1_000_000, SAMPLES[0].config(), running=ran)
    if ran:
        Assignment.objects.filter(portfolio=made).update(node_id="node-1", epoch=3, reason="least loaded")
        kernel = KernelPortfolio(
            made.id, kernel_config.parse(made.config, "cn"), rules_for("cn"), to_units(made.initial_cash)
        )
        Checkpoint.objects.filter(portfolio=made).update(
            epoch=3,
            state=kernel.snapshot(),
            offsets={"ginkgo.live.market.data": {"0": 17}},
            saved_at=NOW,
            config_version=1,
        )
        Portfolio.objects.filter(pk=made.pk).update(status="running")
    return made


def order(of: Portfolio, number: int, state: OrderState = OrderState.FILLED) -> Order:
    """An order with all that belongs to it: fill, ledger entry, feedback, cancel, a fenced twin, the broker's book."""
    at = NOW + timedelta(minutes=number)
    common = {"code": "600519.SH", "direction": 1, "volume": 100}
    made = Order.objects.create(
        order_id=new_id(),
        portfolio=of,
        epoch=3,
        order_type="limit",
        price=Decimal("1700.5"),
        cause=f"ginkgo.live.market.data:0:{number}:0",
        event_time=at,
        received_at=at,
        state=state,
        filled_volume=100 if state == OrderState.FILLED else 0,
        broker="simulation",
        reason="" if state != OrderState.REJECTED else "not enough cash",
        **common,
    )
    at_broker = BrokerOrder.objects.create(
        order_id=made.pk, portfolio_id=of.pk, state="filled", resting='{"cursor": 1}', filled_volume=100, **common
    )
    money = {
        "price": Decimal("1700.5"),
        "amount": Decimal(170050),
        "commission": Decimal("51.015"),
        "tax": Decimal("1.7"),
    }
    fill_id = new_id()
    BrokerFill.objects.create(fill_id=fill_id, order=at_broker, number=1, volume=100, event_time=at, **money)
    Fill.objects.create(
        fill_id=fill_id, broker="simulation", order=made, portfolio=of, event_time=at, **common, **money
    )
    LedgerEntry.objects.create(
        portfolio=of,
        pseq=number,
        order_id=made.pk,
        price=money["price"],
        fees=Decimal("52.715"),
        cash_change=Decimal("-170102.715"),
        event_time=at,
        **common,
    )
    OutboxMessage.objects.create(portfolio=of, pseq=number, order_id=made.pk, message='{"status": "filled"}')
    CancelRequest.objects.create(
        cancel_id=new_id(), order_id=made.pk, portfolio=of, epoch=3, cause="c", event_time=at, received_at=at
    )
    FencedMessage.objects.create(
        message_id=made.pk,
        order_id=made.pk,
        portfolio=of,
        epoch=2,
        current_epoch=3,
        message={"order_id": made.pk},
        received_at=at,
    )
    return made


def adjustment(of: Portfolio) -> Adjustment:
    """A correction that its node has still to book, and a deposit in the ledger."""
    common = {"portfolio": of, "reason": "as the bank says", "author": administrator()}
    Adjustment.objects.create(kind="correction", code="600519.SH", volume=100, price=10, **common)
    made = Adjustment.objects.create(kind="deposit", amount=Decimal(5000), state="applied", settled_at=NOW, **common)
    LedgerEntry.objects.create(
        portfolio=of, kind="deposit", adjustment=made, cash_change=made.amount, event_time=NOW - timedelta(days=1)
    )
    return made


def mismatch(of: Portfolio) -> Mismatch:
    """Its own books hold 100 that its fills know nothing of; the broker's did too, for a while."""
    common = {"account": of.account, "kind": "position", "code": "600519.SH", "expected": 0, "actual": 100}
    Mismatch.objects.create(scope="account", state="resolved", found_at=NOW, seen_at=NOW, resolved_at=NOW, **common)
    common |= {"portfolio": of, "scope": "portfolio", "state": "open", "pseq": 1}
    return Mismatch.objects.create(found_at=NOW + timedelta(hours=1), seen_at=NOW, standing=new_id(), **common)


def command(of: Portfolio) -> Command:
    return Command.objects.create(command_type="portfolio.start", target_id=of.pk, node_id="node-1", epoch=3, params={})


def all_of_it(portfolios: int, orders_each: int) -> list[Portfolio]:
    """So many portfolios with so many orders each, and a command each."""
    owner = administrator()
    made = [portfolio(f"Portfolio {n}", owner) for n in range(portfolios)]
    for one in made:
        command(one)
        adjustment(one)
        mismatch(one)
        for number in range(1, orders_each + 1):
            order(one, number)
    return made
