"""Rows of history, as tests want them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from market.history.rows import Row, Stand, micros, tick_row
from market.messages import PriceUpdate

CODE, OTHER = "600519.SH", "000001.SZ"
MORNING = datetime(2024, 1, 2, 1, 30, tzinfo=UTC)
"""09:30 in Shanghai."""
NOW = micros(datetime.now(UTC))


def at(minutes: float) -> datetime:
    return MORNING + timedelta(minutes=minutes)


def price(minutes: float, price: float = 10.0, code: str = CODE, **fields: Any) -> PriceUpdate:
    return PriceUpdate(code=code, timestamp=at(minutes), price=price, **fields)


def stand(offset: int, partition: int = 0, log_id: str = "log", recorded_at: int = NOW) -> Stand:
    return Stand(log_id, partition, offset, recorded_at)


def tick(offset: int, minutes: float | None = None, price_: float = 10.0, code: str = CODE, **where: Any) -> Row:
    """The row of a tick; by default one a minute."""
    return tick_row(price(offset if minutes is None else minutes, price_, code), stand(offset, **where))


def bar(
    day: int, close: float = 10.0, code: str = CODE, period: str = "1d", recorded_at: int = NOW, log_id: str = "log"
) -> Row:
    """The row of a bar of one day after MORNING; its offset is the day."""
    begins = micros(MORNING + timedelta(days=day))
    last, ends = begins + 19_700_000_000, begins + 19_800_000_000
    where = stand(day, log_id=log_id, recorded_at=recorded_at)
    return (code, period, ends, begins, last, 9.5, 11.0, 9.0, close, 700, 9.9, *where)


def equity(minutes: float, value: float, recorded_at: int = NOW, portfolio: str = "p1") -> Row:
    return (portfolio, micros(at(minutes)), 100.0, 5.0, value, 2, recorded_at)


def position(minutes: float, code: str, volume: int, portfolio: str = "p1") -> Row:
    return (portfolio, code, micros(at(minutes)), volume, volume, 10.0, 11.0, float(volume), NOW)
