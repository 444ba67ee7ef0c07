"""What every strategy, risk rule and sizer is: a class with typed, documented parameters and a state that is saved.

A component is pure: what it decides depends on its parameters, its state and what it is told. Its parameters are a
frozen struct, declared once with `param`; validation, API, CLI and admin are all made from that declaration.
Whatever must survive a restart is in its `State` (one a portfolio) or, for strategies and sizers, in its `Memory`
(one a code): structs that JSON can carry.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any, ClassVar, Protocol

import msgspec
from msgspec import Meta

from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.ledger import Position
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.rules.base import MarketRules
from portfolios.kernel.signals import Exit, Signal, Verdict

__all__ = [
    "BUY",
    "NEVER",
    "SELL",
    "Component",
    "Exit",
    "PriceUpdate",
    "RiskRule",
    "Signal",
    "Sizer",
    "Strategy",
    "Verdict",
    "View",
    "param",
]


NEVER = 1 << 62
"""A price that is never reached, for `RiskRule.bounds`."""


def param(
    doc: str,
    *,
    unit: str = "",
    ge: float | None = None,
    le: float | None = None,
    gt: float | None = None,
    lt: float | None = None,
) -> Meta:
    """Describes a parameter, inside `Annotated[int, param("bars in the average", unit="bars", ge=2)]`."""
    bounds: dict[str, Any] = {"ge": ge, "le": le, "gt": gt, "lt": lt}
    return Meta(
        description=doc, extra={"unit": unit}, **{key: bound for key, bound in bounds.items() if bound is not None}
    )


class NoParams(msgspec.Struct, frozen=True):
    """For a component without parameters."""


class View(Protocol):
    """What a component may know of its portfolio. Money and prices in units of 0.0001 of the currency."""

    @property
    def available_cash(self) -> int: ...
    @property
    def total_value(self) -> int: ...
    @property
    def positions(self) -> Mapping[str, Position]: ...
    @property
    def rules(self) -> MarketRules: ...
    @property
    def day(self) -> date: ...
    def price_of(self, code: str) -> int:
        """The last good price of a code, 0 before the first."""

    def committed(self, code: str | None = None) -> int:
        """Value of the positions in a code (None: in all), open buys included."""


class Component:
    """Base of all three kinds. `Params.check()` may return [(parameter, fault)] for what no single range can say."""

    kind: ClassVar[str] = ""
    Params: ClassVar[type[msgspec.Struct]] = NoParams
    State: ClassVar[type[msgspec.Struct] | None] = None

    def __init__(self, params: Any) -> None:
        self.params = params
        self.state: Any = self.State() if self.State is not None else None

    def on_stop(self) -> None:
        """The portfolio stops here; nothing decided now is sent."""


class _Remembering(Component):
    Memory: ClassVar[type[msgspec.Struct] | None] = None

    @property
    def warmup_bars(self) -> int:
        """How many prices of a code must have been seen before a decision is sound."""
        return 0

    def start(self) -> Any:
        """A fresh memory for one code."""
        return self.Memory() if self.Memory is not None else None

    def on_session(self, memory: Any, tick: PriceUpdate) -> None:
        """`tick` is the code's first of a new session; called before `on_price`."""


class Strategy(_Remembering):
    kind = "strategy"
    view: View

    def on_price(self, memory: Any, tick: PriceUpdate) -> Signal | Sequence[Signal] | None:
        """A price of one code came, with the memory of that code: what should be done, if anything.

        Called for every price (or bar, with `policy.bar`); None, the usual answer, costs nothing.
        """
        raise NotImplementedError


class RiskRule(Component):
    kind = "risk"

    def on_price(self, position: Position, tick: PriceUpdate, view: View) -> Exit | None:
        """A price of something held came, already marked in `position`: should it be left?"""
        return None

    def bounds(self, position: Position) -> tuple[int, int] | None:
        """(low, high) in units: `on_price` need only be asked at or below the one and at or above the other. None:
        at every price. Asked anew whenever the position changes, so it makes most prices cost nothing."""
        return None

    def on_value(self, view: View) -> Exit | None:
        """The portfolio's value has changed (after all `on_price`)."""
        return None

    def review(self, signal: Signal, tick: PriceUpdate, view: View) -> Verdict | None:
        """A signal is about to become an order: None to let it pass."""
        return None


class Sizer(_Remembering):
    kind = "sizer"

    def on_price(self, memory: Any, tick: PriceUpdate) -> None:
        """Every price of every code, for sizers that measure."""

    def size(self, signal: Signal, price: int, memory: Any, view: View) -> int:
        """How many shares or contracts to trade at `price` units; lots, caps and cash are seen to afterwards."""
        raise NotImplementedError
