"""What a portfolio's snapshot holds, as the structs that it is decoded into."""

from __future__ import annotations

from datetime import datetime

import msgspec

from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.ledger import Ledger
from portfolios.kernel.orders import Cancel

SNAPSHOT_VERSION = 1


class OpenCancel(msgspec.Struct):
    """A cancel without an answer; `number` is its place in the order of decisions."""

    cancel: Cancel
    number: int


class WatchState(msgspec.Struct, array_like=True):
    """One code: `day` is the ordinal of its last session (0: none yet); `raw` the last price that was refused, until
    a good one comes; `signalled` the time of its last signal, `retry` the time before which, after a
    rejection, nothing is sent again."""

    code: str
    day: int
    price: float
    raw: float
    prev_close: float | None
    signalled: datetime | None
    retry: datetime | None
    memory: msgspec.Raw
    sizer_memory: msgspec.Raw
    bar: BarBuilder | None


class ComponentState(msgspec.Struct, array_like=True):
    name: str
    params: msgspec.Raw
    state: msgspec.Raw


class Components(msgspec.Struct):
    strategy: ComponentState
    sizer: ComponentState
    risks: list[ComponentState]
    bar: str


class PortfolioState(msgspec.Struct):
    """`decided` counts intents, `now` is the newest event time, `day` the ordinal of the session begun last."""

    v: int
    incarnation: int
    pseq: int
    decided: int
    now: datetime | None
    day: int
    ledger: Ledger
    cancels: list[OpenCancel]
    components: Components
    watches: list[WatchState]


decode = msgspec.json.Decoder(PortfolioState).decode
encode = msgspec.json.Encoder().encode
