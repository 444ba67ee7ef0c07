"""Orders that go around Kafka: which may, when they do, and what keeps them from it (`policy.degraded_send`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from uuid import uuid4

import pytest
from confluent_kafka import KafkaError

from market.messages import OrderMessage, id_of
from nodes import direct
from nodes.direct import Straight, may_go
from nodes.lease import Lease
from nodes.sender import Sender, message_of
from portfolios.kernel.events import Cause
from portfolios.kernel.orders import BUY, SELL, Cancel, Intent, Order
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.signals import Signal
from tests.nodes.support import CODE, RULES, TOPIC, Alerts, Clock, KeepingProducer, parsed, tick

OTHER = "000001.SZ"


def portfolio_with_an_exit_an_entry_and_a_cancel(policy: str) -> tuple[Portfolio, dict[str, Intent]]:
    """It holds one code and sells it, buys the other, and takes an earlier buy of the first back."""
    made = Portfolio(str(uuid4()), parsed(codes=(CODE, OTHER), policy={"degraded_send": policy}), RULES, 10**10)
    made.adjust_position(CODE, 500, 100_000)
    opening, *_ = _decide(made, 1, Signal(BUY, "more", CODE))
    cancel, closing = _decide(made, 2, Signal(SELL, "out", CODE))
    entry, *_ = _decide(made, 3, Signal(BUY, "in", OTHER))
    return made, {"opening": opening, "cancel": cancel, "closing": closing, "entry": entry}


def _decide(portfolio: Portfolio, number: int, signal: Signal) -> list[Intent]:
    event = tick(number, signal.code)
    portfolio.apply(event, Cause(TOPIC, 0, number))
    return portfolio._desk.act(event, Cause(TOPIC, 0, number), signal, {})


@pytest.mark.parametrize(
    ("policy", "allowed"),
    [("off", set()), ("exits", {"cancel", "closing"}), ("all", {"opening", "cancel", "closing", "entry"})],
)
def test_the_policy_says_what_may_go_straight(policy: str, allowed: set[str]) -> None:
    portfolio, intents = portfolio_with_an_exit_an_entry_and_a_cancel(policy)
    going = may_go(portfolio, intents.values())
    assert {name for name, intent in intents.items() if id_of(message_of(intent, 1)) in going} == allowed


def test_by_default_only_what_reduces_a_position_may() -> None:
    assert parsed().policy.degraded_send == "exits"


# -- when --------------------------------------------------------------------------------------------------------------


class Kafka(KeepingProducer):
    """Confirms nothing until it is back."""

    back = False

    def poll(self, timeout: float) -> None:
        if self.back:
            super().poll(timeout)


class Bench:
    """A sender whose producer keeps what it is given, and engines that take what they are asked, or are away."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.clock = Clock()
        monkeypatch.setattr(direct.time, "monotonic", self.clock)
        self.lease = Lease(30, self.clock)
        self.lease.renew(self.clock.now)
        self.producer = Kafka()
        self.alerts = Alerts()
        self.away = False
        self.there = True
        self.asked: list[list[str]] = []
        self.epochs: list[int] = []
        self.straight = Straight("direct", self.ask, lambda: self.away, self.lease, self.alerts.alerter, 2.0, 10.0)
        self.sender = Sender(self.producer, self.lease, self.straight)  # type: ignore[arg-type]
        self.failed: list[Intent] = []

    def ask(self, messages: Sequence[OrderMessage]) -> Mapping[str, str]:
        if not self.there:
            return {}
        self.asked.append([id_of(each) for each in messages])
        self.epochs += [each.epoch for each in messages]
        return {id_of(each): "sending" for each in messages}

    def send(
        self, *names: str, straight: tuple[str, ...] | None = None, epoch: int = 7, term: int | None = None
    ) -> bool:
        term = self.sender.term if term is None else term
        may = names if straight is None else straight
        return self.sender.send([order(name) for name in names], epoch, self.failed.append, term, may)

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.lease.renew(self.clock.now)
        self.straight.step(self.clock.now)


def order(name: str) -> Order:
    return Order(
        order_id=name, portfolio_id="p1", code=CODE, direction=-1, order_type="market", volume=100, price=None,
        cause=f"{TOPIC}:0:1:0", timestamp=tick(1).timestamp,
    )  # fmt: skip


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


def test_what_kafka_takes_in_time_goes_no_other_way(bench: Bench) -> None:
    bench.send("o1")
    bench.pass_time(1.9)
    bench.producer.back = True
    bench.sender.poll()
    bench.pass_time(10)
    assert bench.asked == [] and not bench.sender.degraded


def test_what_kafka_has_not_confirmed_in_time_goes_straight_once(bench: Bench) -> None:
    bench.send("o1", "o2")
    bench.pass_time(1.9)
    assert bench.asked == []
    bench.pass_time(0.2)
    bench.pass_time(5)
    assert bench.asked == [["o1", "o2"]]
    assert bench.sender.degraded  # its answer may be in the database alone
    assert bench.sender.straight == 2


def test_what_kafka_refuses_goes_straight_at_once_and_its_portfolio_hears_of_the_failure(bench: Bench) -> None:
    bench.producer.error = KafkaError(KafkaError._MSG_TIMED_OUT)  # type: ignore[assignment]
    bench.producer.back = True
    bench.send("o1")
    bench.sender.poll()
    bench.pass_time(0)
    assert bench.asked == [["o1"]]
    assert [each.order_id for each in bench.failed] == ["o1"]


def test_while_kafka_is_known_to_be_away_nothing_waits_for_it(bench: Bench) -> None:
    bench.away = True
    bench.send("o1")
    bench.pass_time(0)
    assert bench.asked == [["o1"]]


def test_kafka_is_given_everything_all_the_same(bench: Bench) -> None:
    bench.away = True
    bench.send("o1", "o2", straight=("o1",))
    assert len(bench.producer.messages) == 2


def test_what_may_not_go_straight_stays(bench: Bench) -> None:
    bench.away = True
    bench.send("buy", "sell", straight=("sell",))
    bench.pass_time(0)
    assert bench.asked == [["sell"]]


def test_sent_again_under_the_same_epoch_it_is_not_brought_twice_soon(bench: Bench) -> None:
    bench.away = True
    bench.send("o1")
    bench.pass_time(0)
    bench.send("o1")
    bench.pass_time(0)
    assert bench.asked == [["o1"]]
    bench.pass_time(11)
    bench.send("o1")
    bench.pass_time(0)
    assert bench.asked == [["o1"]] * 2


def test_a_cancel_goes_before_its_order_even_if_kafka_has_it_already(bench: Bench) -> None:
    """The engine may not have read it yet, and the order could trade in between."""
    wish = Cancel(cancel_id="c1", order_id="o1", portfolio_id="p1", cause=f"{TOPIC}:0:2:0", timestamp=tick(1).timestamp)
    bench.sender.send([order("o1"), wish], 7, bench.failed.append, bench.sender.term, ("o1", "c1"))
    bench.straight.delivered("c1")
    bench.pass_time(2.1)
    assert bench.asked == [["c1", "o1"]]


def test_under_a_new_epoch_it_is_brought_again(bench: Bench) -> None:
    bench.away = True
    bench.send("o1")
    bench.pass_time(0)
    bench.send("o1", epoch=8)
    bench.pass_time(0)
    assert bench.epochs == [7, 8]


def test_while_no_engine_answers_it_is_tried_on_and_alerted(bench: Bench) -> None:
    bench.away, bench.there = True, False
    bench.send("o1")
    bench.pass_time(0)
    bench.there = True
    bench.pass_time(0.5)
    assert bench.asked == []
    bench.pass_time(0.6)
    assert bench.asked == [["o1"]]
    assert bench.alerts.types == ["orders_stuck"]


def test_the_lease_is_asked_again_at_the_last_moment(bench: Bench) -> None:
    bench.send("o1")
    bench.clock.now += 26  # past the lease: frozen, perhaps
    bench.away = True
    bench.straight.step(bench.clock.now - 20)
    assert bench.asked == []
    bench.lease.renew(bench.clock.now)  # a new term: what was ours in the last one must be asked for again
    bench.straight.step(bench.clock.now - 20)
    assert bench.asked == []


def test_what_its_portfolio_must_send_again_anyway_is_forgotten(bench: Bench) -> None:
    bench.there = False
    bench.send("o1")
    bench.pass_time(3)
    bench.pass_time(8)
    bench.there = True
    bench.pass_time(2)
    assert bench.asked == [] and bench.straight.waiting == 0


def test_however_many_there_are_they_are_bounded_and_go_in_parts(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(direct, "_MOST", 300)
    bench.away = True
    bench.send(*(f"o{n}" for n in range(310)))
    assert bench.straight.waiting == 300
    bench.pass_time(0)
    bench.pass_time(0)
    assert [len(part) for part in bench.asked] == [200, 100]
    assert bench.asked[0][0] == "o10"
