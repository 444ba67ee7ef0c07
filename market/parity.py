"""Parity: what a portfolio did live beside what a backtest on the recorded stream does, byte for byte (SPEC P8).

Each side is put down as lines of JSON, money in units of 0.0001, and sorted: orders, cancels, fills, and the answers
but for their number in the portfolio's stream. Two runs are the same if and only if these lines are. What the engine
refused (its limits, its switch) is input, as prices are: the backtest's orders of these ids are refused as well.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
from django.conf import settings

from market.messages import decode_feedback
from market.models import CancelRequest, Fill, Order, OutboxMessage
from market.models.order import OrderState
from portfolios.backtest.engine import SLIPPAGE_RATE
from portfolios.backtest.result import Result
from portfolios.backtest.run import Setup, run_backtest
from portfolios.kernel.events import Feedback
from portfolios.kernel.money import to_units
from portfolios.kernel.rules import commission_rate_of
from portfolios.models import Portfolio

_encode = msgspec.json.Encoder(order="sorted").encode


@dataclass(frozen=True)
class Trace:
    """One run, each list sorted."""

    orders: tuple[bytes, ...]
    cancels: tuple[bytes, ...]
    fills: tuple[bytes, ...]
    answers: tuple[bytes, ...]

    @property
    def counts(self) -> dict[str, int]:
        return {name: len(getattr(self, name)) for name in ("orders", "cancels", "fills", "answers")}

    def document(self) -> bytes:
        """All of it, a line each."""
        parts = (("order", self.orders), ("cancel", self.cancels), ("fill", self.fills), ("answer", self.answers))
        return b"".join(kind.encode() + b" " + line + b"\n" for kind, lines in parts for line in lines)


def live(portfolio_id: str) -> Trace:
    """What the engine's books say of a portfolio. Raises django.db.Error."""
    return Trace(
        orders=_lines(
            {
                "order_id": row.order_id,
                "code": row.code,
                "direction": row.direction,
                "order_type": row.order_type,
                "volume": row.volume,
                "price": None if row.price is None else to_units(row.price),
                "cause": row.cause,
                "timestamp": _time(row.event_time),
            }
            for row in Order.objects.filter(portfolio_id=portfolio_id).order_by()
        ),
        cancels=_lines(
            {
                "cancel_id": row.cancel_id,
                "order_id": row.order_id,
                "cause": row.cause,
                "timestamp": _time(row.event_time),
            }
            for row in CancelRequest.objects.filter(portfolio_id=portfolio_id).order_by()
        ),
        fills=_lines(
            {
                "fill_id": row.fill_id,
                "order_id": row.order_id,
                "code": row.code,
                "direction": row.direction,
                "volume": row.volume,
                "price": to_units(row.price),
                "amount": to_units(row.amount),
                "commission": to_units(row.commission),
                "tax": to_units(row.tax),
                "timestamp": _time(row.event_time),
            }
            for row in Fill.objects.filter(portfolio_id=portfolio_id).order_by()
        ),
        answers=_answers(
            decode_feedback(message.encode())
            for message in OutboxMessage.objects.filter(portfolio_id=portfolio_id)
            .order_by()
            .values_list("message", flat=True)
        ),
    )


def backtested(result: Result, answers: Iterable[Feedback]) -> Trace:
    """What a backtest left, and what its portfolio was told."""
    return Trace(
        orders=_lines(
            {
                "order_id": order.order_id,
                "code": order.code,
                "direction": order.direction,
                "order_type": order.order_type,
                "volume": order.volume,
                "price": None if order.price is None else to_units(order.price),
                "cause": order.cause,
                "timestamp": _time(order.timestamp),
            }
            for order in result.orders
        ),
        cancels=_lines(
            {
                "cancel_id": cancel.cancel_id,
                "order_id": cancel.order_id,
                "cause": cancel.cause,
                "timestamp": _time(cancel.timestamp),
            }
            for cancel in result.cancels
        ),
        fills=_lines(
            {
                "fill_id": fill.fill_id,
                "order_id": fill.order_id,
                "code": fill.code,
                "direction": fill.direction,
                "volume": fill.volume,
                "price": fill.price,
                "amount": fill.amount,
                "commission": fill.commission,
                "tax": fill.tax,
                "timestamp": _time(fill.timestamp),
            }
            for fill, _, _ in result.fills
        ),
        answers=_answers(answers),
    )


def again(portfolio: Portfolio, recorded: Path, home: Path, start: date | None = None) -> Trace:
    """A backtest of the portfolio as it stands, with the configured broker's rates and the engine's refusals, on a
    recorded stream. What stands there before `start`, the first day that it traded live, warms it up.

    InvalidConfig, BacktestError and CalendarError as `run_backtest`.
    """
    options = settings.GINKGO.brokers.get(settings.GINKGO.engine.broker, {})
    answers: list[Feedback] = []
    refused = _refused(portfolio.id)
    setup = Setup(
        portfolio.config,
        portfolio.initial_cash,
        str(recorded),
        start=start,
        portfolio_id=portfolio.id,
        market=portfolio.market,
        commission_rate=commission_rate_of(options.get("commission_rate"), portfolio.market),
        slippage_rate=float(options.get("slippage_rate", SLIPPAGE_RATE)),
    )
    result = run_backtest(setup, home, gate=lambda order, _: refused.get(order.order_id), hear=answers.append)
    return backtested(result, answers)


@dataclass(frozen=True)
class Difference:
    """A line that only one side has: `only` is `live` or `backtest`."""

    kind: str
    only: str
    line: str


@dataclass(frozen=True)
class Comparison:
    portfolio_id: str
    name: str
    live: Trace
    backtest: Trace
    refused: int

    @cached_property
    def differences(self) -> list[Difference]:
        found: list[Difference] = []
        for kind in self.live.counts:
            mine, theirs = Counter(getattr(self.live, kind)), Counter(getattr(self.backtest, kind))
            found += [Difference(kind, "live", line.decode()) for line in sorted((mine - theirs).elements())]
            found += [Difference(kind, "backtest", line.decode()) for line in sorted((theirs - mine).elements())]
        return found

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "portfolio_id": self.portfolio_id,
            "name": self.name,
            "identical": not self.differences,
            "live": self.live.counts,
            "backtest": self.backtest.counts,
            "refused": self.refused,
            "differences": [asdict(each) for each in self.differences],
        }


def compare(portfolio: Portfolio, recorded: Path, home: Path, start: date | None = None) -> Comparison:
    """Raises django.db.Error, and as `again`."""
    refused = len(_refused(portfolio.id))
    return Comparison(
        portfolio.id, portfolio.name, live(portfolio.id), again(portfolio, recorded, home, start), refused
    )


def _refused(portfolio_id: str) -> dict[str, str]:
    rows = Order.objects.filter(portfolio_id=portfolio_id, state=OrderState.REJECTED).order_by()
    return dict(rows.values_list("order_id", "reason"))


def _lines(rows: Iterable[dict[str, Any]]) -> tuple[bytes, ...]:
    return tuple(sorted(map(_encode, rows)))


def _answers(told: Iterable[Feedback]) -> tuple[bytes, ...]:
    """Without `pseq`, as acceptances and fills of one price may be told in either order; without `seen`, which a
    backtest has no need of."""
    return tuple(sorted(_encode(msgspec.structs.replace(each, pseq=0, seen=msgspec.UNSET)) for each in told))


def _time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat()
