"""The simulated exchange as one pure function: what a tick does to a resting order (SPEC M4).

Shared by the live simulated broker and the backtest, so that both give the same fills, ids and times included.
An order meets ticks of its code strictly after its cause, within the session that it is good for.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal, Protocol
from uuid import UUID

import msgspec

from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.money import ceil_to, to_units
from portfolios.kernel.orders import BUY, SELL, name_of
from portfolios.kernel.rules.base import MarketRules

_PPM = 1_000_000


class OrderLike(Protocol):
    """What both the kernel's order and the wire's submission are."""

    @property
    def order_id(self) -> str: ...
    @property
    def portfolio_id(self) -> str: ...
    @property
    def code(self) -> str: ...
    @property
    def direction(self) -> int: ...
    @property
    def order_type(self) -> Literal["limit", "market"]: ...
    @property
    def volume(self) -> int: ...
    @property
    def price(self) -> float | None: ...
    @property
    def cause(self) -> str: ...
    @property
    def timestamp(self) -> datetime: ...


class Resting(msgspec.Struct, frozen=True, kw_only=True):
    """An order in the book. `price` in units (None: market); `session` is the day it is good for; `filled`, `amount`,
    `commission` and `tax` are the sums of its fills so far; `partition` and `offset` its cursor: the last tick
    of `topic` it has met, at first its cause."""

    order_id: str
    portfolio_id: str
    code: str
    direction: int
    volume: int
    price: int | None
    timestamp: datetime
    session: date
    cause: Cause
    topic: str
    partition: int
    offset: int
    st: bool = False
    filled: int = 0
    amount: int = 0
    commission: int = 0
    tax: int = 0

    @property
    def remaining(self) -> int:
        return self.volume - self.filled


class Fill(msgspec.Struct, frozen=True):
    """An execution, money in units; `remaining` of the order after it (0: it is over)."""

    fill_id: str
    order_id: str
    code: str
    direction: int
    price: int
    volume: int
    amount: int
    commission: int
    tax: int
    timestamp: datetime
    remaining: int


class Expired(msgspec.Struct, frozen=True):
    """The order's session ended, as a tick of a later one shows; its `timestamp` is that tick's."""

    order_id: str
    timestamp: datetime
    remaining: int
    reason: str = "expired"


def rest(order: OrderLike, rules: MarketRules, *, st: bool = False) -> Resting:
    """Takes an order into the book. Its cause is `topic:partition:offset:n`; ValueError if it is not."""
    topic, partition, offset, _ = order.cause.rsplit(":", 3)
    cause = Cause(topic, int(partition), int(offset))
    return Resting(
        order_id=order.order_id,
        portfolio_id=order.portfolio_id,
        code=order.code,
        direction=order.direction,
        volume=order.volume,
        price=None if order.price is None else to_units(float(order.price)),
        timestamp=order.timestamp,
        session=rules.order_session(order.timestamp).day,
        cause=cause,
        topic=cause.topic,
        partition=cause.partition,
        offset=cause.offset,
        st=st,
    )


def is_after(order: Resting, tick: PriceUpdate, at: Cause) -> bool:
    """Whether an order may meet a tick at that place of the log: after its cursor and never before its cause."""
    if at.topic == order.topic and at.partition == order.partition:
        return at.offset > order.offset
    return tick.timestamp > order.timestamp


def match(
    order: Resting,
    tick: PriceUpdate,
    at: Cause,
    rules: MarketRules,
    slippage_rate: float = 0.001,
    prev_close: int | None = None,
) -> Fill | Expired | None:
    """What `tick`, standing at `at` in the log, does to `order`; None for nothing.

    Market orders trade at the tick's price worsened by `slippage_rate`, rounded against the taker to the price
    step and kept within the price limits; limit orders the same but never beyond their price. Nothing is bought
    at limit-up or sold at limit-down. The tick's volume, where given, caps the fill. `prev_close` (units) stands
    in where the tick carries none.
    """
    if tick.code != order.code or not is_after(order, tick, at):
        return None
    session = rules.session_at(tick.timestamp)
    if session.day != order.session:
        return Expired(order.order_id, tick.timestamp, order.remaining) if session.day > order.session else None
    volume = order.remaining if tick.volume is None else min(order.remaining, tick.volume)
    if volume <= 0 or not tick.price > 0:
        return None
    last = to_units(tick.price)
    limits = _limits(order, tick, rules, session.day, prev_close)
    if limits is not None and not limits[0] <= last <= limits[1]:
        return None
    price = _price(order, last, limits, rules.tick_size(order.code, session.day, last), round(slippage_rate * _PPM))
    if price is None:
        return None
    amount = price * volume * rules.multiplier(order.code)
    fees = rules.fees(order.code, order.direction, order.amount + amount, order.filled + volume, session.day)
    return Fill(
        fill_id=name_of(UUID(order.order_id), f"{at.topic}:{at.partition}:{at.offset}"),
        order_id=order.order_id,
        code=order.code,
        direction=order.direction,
        price=price,
        volume=volume,
        amount=amount,
        commission=fees.commission - order.commission,
        tax=fees.tax - order.tax,
        timestamp=tick.timestamp,
        remaining=order.remaining - volume,
    )


def advance(order: Resting, at: Cause, fill: Fill | None = None) -> Resting:
    """The order after it has met the tick at `at`, which gave `fill`. The cursor and the fill belong together."""
    if fill is None:
        return msgspec.structs.replace(order, topic=at.topic, partition=at.partition, offset=at.offset)
    return msgspec.structs.replace(
        order,
        topic=at.topic,
        partition=at.partition,
        offset=at.offset,
        filled=order.filled + fill.volume,
        amount=order.amount + fill.amount,
        commission=order.commission + fill.commission,
        tax=order.tax + fill.tax,
    )


def _limits(
    order: Resting, tick: PriceUpdate, rules: MarketRules, day: date, prev_close: int | None
) -> tuple[int, int] | None:
    base = to_units(tick.prev_close) if tick.prev_close is not None else prev_close
    return None if not base else rules.limits(order.code, base, day, order.st)


def _price(order: Resting, last: int, limits: tuple[int, int] | None, step: int, slippage: int) -> int | None:
    """The price in units at which the order trades when the market is at `last`, or None."""
    if order.direction == BUY:
        if (limits is not None and last >= limits[1]) or (order.price is not None and last > order.price):
            return None
        worst = ceil_to(-(-last * (_PPM + slippage) // _PPM), step)
        bounds = [worst, *([limits[1]] if limits else []), *([order.price] if order.price is not None else [])]
        return min(bounds)
    assert order.direction == SELL
    if (limits is not None and last <= limits[0]) or (order.price is not None and last < order.price):
        return None
    worst = last * (_PPM - slippage) // _PPM // step * step
    bounds = [max(worst, step), *([limits[0]] if limits else []), *([order.price] if order.price is not None else [])]
    return max(bounds)
