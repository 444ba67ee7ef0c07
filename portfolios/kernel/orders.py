"""What a portfolio can ask for: orders and cancels, each named after its cause."""

from __future__ import annotations

from datetime import datetime
from functools import lru_cache
from hashlib import sha1
from typing import Literal, TypeAlias
from uuid import UUID

import msgspec

BUY = 1
SELL = -1


def order_id(portfolio_id: str, cause: str, incarnation: int) -> str:
    """The id of the order that `cause` (`topic:partition:offset:n`) gave rise to (SPEC N8).

    A replay of the same log makes the same ids; `incarnation` sets apart the lives of a log that began anew.
    """
    return name_of(_namespace(portfolio_id), f"{cause}:{incarnation}")


def name_of(namespace: UUID, name: str) -> str:
    """`str(uuid.uuid5(namespace, name))` (RFC 9562, 5.5), in a third of its time."""
    digest = bytearray(sha1(namespace.bytes + name.encode(), usedforsecurity=False).digest()[:16])
    digest[6] = digest[6] & 0x0F | 0x50
    digest[8] = digest[8] & 0x3F | 0x80
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


_namespace = lru_cache(maxsize=1024)(UUID)


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """An order as the portfolio decided it. `price` is None for a market order; `timestamp` is the cause's."""

    order_id: str
    portfolio_id: str
    code: str
    direction: int
    order_type: Literal["limit", "market"]
    volume: int
    price: float | None
    cause: str
    timestamp: datetime


class Cancel(msgspec.Struct, frozen=True, kw_only=True):
    """The wish to take an order back; an intent like an order, with a name of its own."""

    cancel_id: str
    order_id: str
    portfolio_id: str
    cause: str
    timestamp: datetime


Intent: TypeAlias = Order | Cancel
