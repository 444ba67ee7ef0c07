"""What a portfolio can be told: prices from the market and feedback on its orders, as they are on the wire.

The kernel's events *are* the wire's messages (SPEC section 3): a tick is decoded once, straight into the
struct that every portfolio of the node then shares, so the structs are frozen and carry no GC header.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, NamedTuple, TypeAlias

import msgspec

SCHEMA_VERSION = 1

FeedbackType: TypeAlias = Literal[
    "order_ack", "order_partially_filled", "order_filled", "order_rejected", "order_cancelled"
]


Timestamp: TypeAlias = Annotated[datetime, msgspec.Meta(tz=True)]
"""The time of an event; one without a time zone is refused as it is decoded."""


class Cause(NamedTuple):
    """Where an event stands in the log: the name from which order ids are made."""

    topic: str
    partition: int
    offset: int


class PriceUpdate(msgspec.Struct, tag_field="event_type", tag="price_update", frozen=True, gc=False, kw_only=True):
    """One tick of one instrument. Prices in the instrument's currency, volumes in shares or contracts.

    `volume` is what traded since the last tick (None: unlimited liquidity for the simulated broker);
    `prev_close` is the previous session's close, from which price limits follow.
    """

    v: int = msgspec.field(name="_v", default=SCHEMA_VERSION)
    code: str
    timestamp: Timestamp
    price: float
    prev_close: float | None = None
    volume: int | None = None
    open: float | None = None
    high: float | None = None
    low: float | None = None
    close: float | None = None
    bid_price: float | None = None
    ask_price: float | None = None
    bid_volume: int | None = None
    ask_volume: int | None = None


class Feedback(msgspec.Struct, frozen=True, gc=False, kw_only=True, omit_defaults=False):
    """One answer to an order. `seq` counts per order, `pseq` per portfolio, both densely from 1.

    `status` is the order's state after it (accepted, partially_filled, filled, rejected, cancelled). The fields
    from `fill_id` to `tax` are set for fills (money in the portfolio's currency), `reason` for rejects and
    cancels, `seen` (topic:partition:offset, the newest price of the order's code that the exchange had met when it
    filled or ended the order) where the exchange reads the log; an unset field is left out on the wire.
    """

    event_type: FeedbackType
    v: int = msgspec.field(name="_v", default=SCHEMA_VERSION)
    timestamp: Timestamp
    order_id: str
    portfolio_id: str
    seq: int
    pseq: int
    status: str
    fill_id: str | msgspec.UnsetType = msgspec.UNSET
    code: str | msgspec.UnsetType = msgspec.UNSET
    direction: int | msgspec.UnsetType = msgspec.UNSET
    filled_volume: int | msgspec.UnsetType = msgspec.UNSET
    remaining_volume: int | msgspec.UnsetType = msgspec.UNSET
    filled_price: float | msgspec.UnsetType = msgspec.UNSET
    filled_amount: float | msgspec.UnsetType = msgspec.UNSET
    commission: float | msgspec.UnsetType = msgspec.UNSET
    tax: float | msgspec.UnsetType = msgspec.UNSET
    reason: str | msgspec.UnsetType = msgspec.UNSET
    seen: str | msgspec.UnsetType = msgspec.UNSET


Event: TypeAlias = PriceUpdate | Feedback
