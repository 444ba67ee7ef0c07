"""Orders cannot reach Kafka: what reduces a position goes straight to the engine, once, and all is in step afterwards.

Prices and answers come by the real log; the way of the orders is cut; engine and door are real, the market is the
test's hand.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from confluent_kafka import KafkaError
from django.db.models import Sum

from market.bus import make_producer
from market.engine.debt import Debt
from market.engine.door import Door
from market.engine.reception import Reception
from market.engine.threads import EngineThread
from market.messages import OrderMessage, PriceUpdate, decode_order, encode
from market.models import BrokerOrder, LogDebt, Order
from market.outbox import Outbox
from nodes.direct import Straight
from nodes.direct_caller import Caller
from nodes.lease import Lease
from nodes.processor import Processor
from nodes.sender import Sender
from portfolios.kernel.money import to_decimal
from portfolios.models import Assignment, Checkpoint, LedgerEntry, Portfolio, Revision
from tests.market.desk_support import NOW, Market, everybody, make_desk, submitted_twice
from tests.nodes.log import Log
from tests.nodes.support import MORNING, Alerts, KeepingProducer, config
from tests.nodes.test_processor import Scene
from tests.support import eventually

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]

CODE = "600519.SH"
CASH = 10**6


class Way(KeepingProducer):
    """The orders' way to Kafka. While it is cut nothing is confirmed; mended, what was on it has timed out."""

    def __init__(self) -> None:
        super().__init__()
        self.is_cut = False

    def poll(self, timeout: float) -> None:
        if not self.is_cut:
            super().poll(timeout)

    def cut(self) -> None:
        self.is_cut = True

    def mend(self) -> None:
        self.error = KafkaError(KafkaError._MSG_TIMED_OUT)  # type: ignore[assignment]
        super().poll(0)
        self.error, self.is_cut = None, False

    def orders(self) -> list[OrderMessage]:
        return [decode_order(value) for _, _, value in self.messages]


class Floor(Scene):
    """A node, and an engine behind its door."""

    def __init__(self, log: Log, alerts: Alerts) -> None:
        super().__init__(log, alerts)
        self.way = Way()
        lease = Lease(3600)
        lease.renew(lease.now())
        self.straight = Straight("direct", Caller(), lambda: False, lease, alerts.alerter, after=0.3, keep=3600)
        sender = Sender(self.way, lease, self.straight)  # type: ignore[arg-type]
        self.checkpointer._sender = sender
        self.context = replace(self.context, sender=sender)
        self.straight.start()
        self.market = Market()
        self.desk = make_desk(self.market)
        self.outbox = Outbox(make_producer("test-outbox"), everybody)
        door = Door("engine-t", ("127.0.0.1", 0), Reception(self.desk, everybody, lambda: False), self.market.alerts)
        self.door = EngineThread("door", door.run)
        self.door.start()
        self.processors: list[Processor] = []

    def close(self) -> None:
        for each in self.processors:
            each.end("discard")
            each.join(10)
        self.door.stopping.set()
        for thread in (self.straight, self.checkpointer):
            thread.request_stop()
            thread.join(10)
        self.door.join(10)

    def trades(self, policy: str) -> str:
        """A portfolio that buys at every second price and sells what has lost 3 %; running."""
        wanted = config((CODE,), policy={"degraded_send": policy, "pyramiding": False}, every=2)
        wanted["risk_managements"] = [{"name": "LossLimitRisk", "params": {"loss_limit": 3.0}}]
        made = Portfolio.objects.create(
            name="p", owner=self.user, initial_cash=CASH, config=wanted, desired_state="running"
        )
        Revision.objects.create(portfolio=made, version=1, config=wanted)
        Assignment.objects.create(portfolio=made, node_id="node-t", epoch=1)
        Checkpoint.objects.create(portfolio=made, epoch=1)
        self.run(made.id, 1)
        return str(made.id)

    def run(self, portfolio_id: str, epoch: int) -> Processor:
        processor = Processor(self.context, portfolio_id, epoch)
        self.processors.append(processor)
        processor.start()
        assert processor.running.wait(30)
        return processor

    def price(self, price: float, at: datetime) -> None:
        tick = PriceUpdate(code=CODE, timestamp=at, price=price, prev_close=10.0)
        self.log.raw("ginkgo.live.market.data", CODE, encode(tick))

    def engine_reads_the_log(self) -> None:
        self.desk.receive(self.way.orders(), NOW)

    def fills(self, price: float, at: datetime) -> None:
        self.market.trade(price, at=at)
        self.desk.absorb(Order.objects.values_list("order_id", flat=True))

    def portfolio(self) -> Any:
        run = self.processors[-1].runtime
        assert run is not None
        return run.portfolio


@pytest.fixture
def floor(log: Log, alerts: Alerts) -> Iterator[Floor]:
    made = Floor(log, alerts)
    yield made
    made.close()


NEXT_DAY = MORNING + timedelta(days=1)


def test_an_exit_goes_straight_and_is_filled_once_though_its_node_dies_meanwhile(floor: Floor) -> None:
    portfolio_id = floor.trades("exits")
    for second in (0, 1):
        floor.price(10.0, MORNING + timedelta(seconds=second))
    eventually(floor.way.orders, saying="the buy, by Kafka")
    floor.engine_reads_the_log()
    floor.fills(10.0, MORNING + timedelta(seconds=2))
    floor.outbox.publish()
    eventually(lambda: floor.portfolio().positions, saying="the position")

    floor.way.cut()
    floor.price(9.5, NEXT_DAY)
    sell = eventually(lambda: Order.objects.filter(direction=-1).first(), saying="the exit in the engine's books")
    eventually(lambda: floor.portfolio().open_orders()[0].answered, saying="its answer, though Kafka has none")
    assert LogDebt.objects.get().message_id == sell.order_id

    floor.processors[-1].end("discard")  # what a kill leaves behind is the checkpoint
    floor.processors[-1].join(10)
    Assignment.objects.filter(portfolio_id=portfolio_id).update(epoch=2)
    Checkpoint.objects.filter(portfolio_id=portfolio_id).update(epoch=2)
    floor.run(portfolio_id, 2)
    floor.fills(9.5, NEXT_DAY + timedelta(seconds=1))
    eventually(lambda: not floor.portfolio().positions, saying="the position closed")

    floor.way.mend()
    owed = decode_order(LogDebt.objects.get().message.encode())
    assert Debt(make_producer("test-debt"), everybody, lambda: False).pay() == 1
    taken = floor.desk.receive([owed, *floor.way.orders()], NOW)
    assert "sending" not in {each.outcome for each in taken}
    assert Order.objects.count() == BrokerOrder.objects.count() == 2 and submitted_twice() == []
    booked = LedgerEntry.objects.filter(portfolio_id=portfolio_id).aggregate(total=Sum("cash_change"))["total"]
    eventually(lambda: LedgerEntry.objects.filter(portfolio_id=portfolio_id).count() == 2, saying="both fills booked")
    booked = LedgerEntry.objects.filter(portfolio_id=portfolio_id).aggregate(total=Sum("cash_change"))["total"]
    assert to_decimal(floor.portfolio().cash) == CASH + booked < Decimal(CASH)


@pytest.mark.parametrize("policy", ["exits", "off"])
def test_a_buy_is_held_back_until_kafka_takes_it_again(floor: Floor, policy: str) -> None:
    floor.trades(policy)
    floor.way.cut()
    for second in (0, 1):
        floor.price(10.0, MORNING + timedelta(seconds=second))
    eventually(floor.way.orders, saying="the buy, on its way to Kafka")
    assert floor.straight.waiting == 0 and floor.straight.step(10.0**12) == 0
    assert not Order.objects.exists()
    before = len(floor.way.messages)
    floor.way.mend()
    eventually(lambda: len(floor.way.messages) > before, saying="the same order once more")
    assert len({each.order_id for each in floor.way.orders()}) == 1
