"""Messages of the log as rows of the history tables: plain tuples in the order of their tables' columns. Pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple, TypeAlias

from msgspec import UNSET

from market.messages import Feedback, OrderCancel, OrderMessage, OrderSubmission, PriceUpdate

Row: TypeAlias = tuple[Any, ...]
Rows: TypeAlias = dict[str, list[Row]]
"""table → its rows."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LARGEST = 2**63 - 1


class Stand(NamedTuple):
    """Where a message stands in the log, and when Kafka got it (microseconds since 1970)."""

    log_id: str
    partition: int
    offset: int
    recorded_at: int


def micros(moment: datetime) -> int:
    return (moment - _EPOCH) // _MICROSECOND


def tick_row(tick: PriceUpdate, at: Stand) -> Row:
    """ValueError for a number that no database can hold."""
    _check(tick.volume, tick.bid_volume, tick.ask_volume)
    return (
        tick.code,
        micros(tick.timestamp),
        tick.price,
        tick.prev_close,
        tick.volume,
        tick.open,
        tick.high,
        tick.low,
        tick.close,
        tick.bid_price,
        tick.ask_price,
        tick.bid_volume,
        tick.ask_volume,
        *at,
    )


def order_row(message: OrderMessage, at: Stand) -> Row:
    """An order or a cancel as it was sent; sent again, it is the same row."""
    if isinstance(message, OrderCancel):
        what: Row = (message.cancel_id, "order_cancel", micros(message.timestamp), *(None,) * 5, message.cause)
    else:
        assert isinstance(message, OrderSubmission)
        _check(message.volume)
        what = (
            message.order_id,
            "order_submission",
            micros(message.timestamp),
            message.code,
            message.direction,
            message.order_type,
            message.volume,
            message.price,
            message.cause,
        )
    return (message.portfolio_id, message.order_id, *what, None, None, 0, 0, *at)


def feedback_rows(feedback: Feedback, at: Stand) -> Rows:
    """The answer as the order's next event and, if it is one, the fill."""
    _check(feedback.seq, feedback.pseq, _known(feedback.filled_volume), _known(feedback.remaining_volume))
    moment = micros(feedback.timestamp)
    answer = (
        feedback.portfolio_id,
        feedback.order_id,
        str(feedback.pseq),
        feedback.event_type,
        moment,
        _known(feedback.code),
        _known(feedback.direction),
        None,
        _known(feedback.filled_volume),
        _known(feedback.filled_price),
        None,
        feedback.status,
        _known(feedback.reason),
        feedback.seq,
        feedback.pseq,
        *at,
    )
    if feedback.fill_id is UNSET:
        return {"orders": [answer]}
    fill = (
        feedback.portfolio_id,
        moment,
        feedback.fill_id,
        feedback.order_id,
        _known(feedback.code) or "",
        _known(feedback.direction) or 0,
        _known(feedback.filled_volume) or 0,
        _known(feedback.remaining_volume) or 0,
        _known(feedback.filled_price) or 0.0,
        _known(feedback.filled_amount) or 0.0,
        _known(feedback.commission) or 0.0,
        _known(feedback.tax) or 0.0,
        feedback.pseq,
        *at,
    )
    return {"orders": [answer], "fills": [fill]}


def _known(value: Any) -> Any:
    return None if value is UNSET else value


def _check(*numbers: int | None) -> None:
    for number in numbers:
        if number is not None and not -_LARGEST <= number <= _LARGEST:
            raise ValueError(f"{number} is beyond 64 bits")
