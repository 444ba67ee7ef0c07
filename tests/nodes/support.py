"""What the node's tests share: events, portfolios as a node loads them, and a producer that keeps what it is given."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from market.alerting import Alerter
from market.messages import Alert, decode_alert
from nodes.subscription import Item, Subscription
from portfolios.checkpoints import Loaded, Save
from portfolios.kernel.config import PortfolioConfig, parse
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.rules import rules_for
from tests.support.components import ONE_LOT, RECORDER

TOPIC = "ginkgo.live.market.data"
CODE = "600519.SH"
MORNING = datetime(2024, 3, 5, 2, 0, tzinfo=UTC)
RULES = rules_for("cn")


class KeepingProducer:
    """Keeps what it is given, and reports it delivered, or failed with `error`, when it is polled."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, bytes]] = []
        self.error: Exception | None = None
        self.full = False
        self._reports: list[Callable[[], None]] = []

    def produce(self, topic: str, key: str, value: bytes, on_delivery: Any = None) -> None:
        if self.full:
            raise BufferError("queue full")
        self.messages.append((topic, key, value))
        if on_delivery is not None:
            self._reports.append(lambda: on_delivery(self.error, None))

    def poll(self, _timeout: float) -> None:
        reports, self._reports = self._reports, []
        for report in reports:
            report()

    def flush(self, _timeout: float) -> int:
        self.poll(0)
        return 0


class Alerts:
    """An alerter and what it raised."""

    def __init__(self) -> None:
        self.producer = KeepingProducer()
        self.alerter = Alerter("node-t", self.producer)  # type: ignore[arg-type]

    @property
    def raised(self) -> list[Alert]:
        return [decode_alert(value) for _, _, value in self.producer.messages]

    @property
    def types(self) -> list[str]:
        return [alert.alert_type for alert in self.raised]


class Clock:
    """A clock that a test puts forward."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def config(codes: tuple[str, ...] = (CODE,), policy: dict[str, Any] | None = None, **strategy: Any) -> dict[str, Any]:
    """A configuration whose strategy records what it sees; `strategy` are its parameters."""
    return {
        "strategy": {"name": RECORDER, "params": strategy},
        "sizer": {"name": ONE_LOT},
        "codes": list(codes),
        "policy": {"pyramiding": True, **(policy or {})},
    }


def parsed(**parameters: Any) -> PortfolioConfig:
    return parse(config(**parameters), "cn")


def loaded(portfolio_id: str = "", **changes: Any) -> Loaded:
    """A portfolio that never ran, owned by node-t at epoch 1, unless `changes` say otherwise."""
    facts: dict[str, Any] = {
        "portfolio_id": portfolio_id or str(uuid4()), "name": "p", "market": "cn", "initial_cash": Decimal(10**6),
        "desired_state": "running", "version": 1, "config": config(), "node_id": "node-t", "epoch": 1, "state": b"",
        "pseq": 0, "offsets": {}, "topic_ids": {}, "checkpoint_version": 0, "checkpoint_config": None,
        "incarnation": 0,
    }  # fmt: skip
    return Loaded(**{**facts, **changes})


def save(portfolio_id: str, epoch: int = 1, state: bytes = b"{}", **changes: Any) -> Save:
    facts: dict[str, Any] = {
        "pseq": 0, "offsets": {TOPIC: {3: 17}}, "topic_ids": {TOPIC: "t"}, "config_version": 1, "incarnation": 0,
    }  # fmt: skip
    return Save(portfolio_id=portfolio_id, epoch=epoch, state=state, **{**facts, **changes})


def tick(number: int, code: str = CODE, price: float | None = None) -> PriceUpdate:
    """The `number`-th tick: ten milliseconds after the one before, its price within the day's limits."""
    at = MORNING + timedelta(milliseconds=10 * number)
    return PriceUpdate(
        code=code, timestamp=at, price=10 + number % 50 / 100 if price is None else price, prev_close=10.0
    )


def item(number: int, code: str = CODE, partition: int = 0, price: float | None = None) -> Item:
    return Item(tick(number, code, price), Cause(TOPIC, partition, number))


def answer(pseq: int, order_id: str, portfolio_id: str, event_type: str = "order_ack", **fields: Any) -> Feedback:
    status = {"order_ack": "accepted"}.get(event_type, event_type.removeprefix("order_"))
    return Feedback(
        event_type=event_type, timestamp=MORNING, order_id=order_id, portfolio_id=portfolio_id, seq=1, pseq=pseq,
        status=status, **fields,
    )  # type: ignore[arg-type] # fmt: skip


def fill(pseq: int, order_id: str, portfolio_id: str, volume: int = 100, price: float = 10.0) -> Feedback:
    return answer(
        pseq, order_id, portfolio_id, "order_filled", fill_id=f"fill-{pseq}", code=CODE, direction=1,
        filled_volume=volume, remaining_volume=0, filled_price=price, filled_amount=volume * price, commission=5.0,
        tax=0.0,
    )  # fmt: skip


def subscription(policy: str | None = "catch_up", limit: int = 10, codes: tuple[str, ...] = (CODE,)) -> Subscription:
    keys = frozenset(code.encode() for code in codes)
    return Subscription("p1", keys, policy, limit, lambda: None)  # type: ignore[arg-type]
