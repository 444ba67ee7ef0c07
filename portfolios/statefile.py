"""A portfolio's state as it comes from a file: every fault of its shape and of its books, then made ready for use.

A node's own checkpoint is trusted; what somebody may have edited is not.
"""

from __future__ import annotations

import json
import types
from collections.abc import Iterator
from datetime import date
from typing import Any, Union, get_args, get_origin, get_type_hints

import msgspec

from portfolios.kernel import state as saved
from portfolios.kernel.codes import fault_of
from portfolios.kernel.config import Fault, PortfolioConfig
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.registry import UnknownComponent, find
from portfolios.kernel.rules import MarketRules, rules_for
from portfolios.kernel.state import SNAPSHOT_VERSION, PortfolioState

_LARGEST = 2**62
_LAST_DAY = date.max.toordinal()


def faults_of(state: Any, market: str) -> list[Fault]:
    """All that is wrong with a snapshot (as JSON reads it) of a portfolio of `market`, or nothing."""
    if isinstance(state, dict) and "v" in state and state["v"] != SNAPSHOT_VERSION:
        return [Fault("state.v", f"must be {SNAPSHOT_VERSION}, got {state['v']!r}: another version wrote it")]
    try:
        text = json.dumps(state, allow_nan=False)
    except ValueError as error:
        return [Fault("state", f"is not JSON: {error}")]
    faults = list(_shape(state, PortfolioState, "state"))
    if faults:
        return faults
    try:
        decoded = saved.decode(text)
        saved.encode(decoded)
    except (msgspec.MsgspecError, OverflowError) as error:
        return [Fault("state", f"cannot be read: {error}")]
    return [*_numbers(decoded), *_books(decoded, rules_for(market), market)]


def restored(state: Any, portfolio_id: str, config: PortfolioConfig, market: str, pseq: int, incarnation: int) -> bytes:
    """A faultless state as that of `portfolio_id`: numbered on from `pseq`, and without open orders.

    An open order is its portfolio's, at its broker and under its id: no other can answer for it, nor take it back. What
    it held back is free again. Raises ValueError where the components of `config` do not take the state.
    """
    decoded = saved.decode(saved.encode(state))
    components = decoded.components
    for was, kind in [(components.strategy, "strategy"), (components.sizer, "sizer")]:
        was.params = _as_written(was, kind)
    for risk in components.risks:
        risk.params = _as_written(risk, "risk")
    decoded.pseq, decoded.incarnation, decoded.cancels = pseq, incarnation, []
    decoded.ledger.orders, decoded.ledger.frozen = {}, 0
    for position in decoded.ledger.positions.values():
        position.frozen = 0
    try:
        return Portfolio.restore(saved.encode(decoded), portfolio_id, config, rules_for(market)).snapshot()
    except Exception as error:
        raise ValueError(f"{type(error).__name__}: {error}") from error


def _as_written(was: saved.ComponentState, kind: str) -> msgspec.Raw:
    """Its parameters as a snapshot writes them: by that a component that is still the same is recognised."""
    try:
        return msgspec.Raw(saved.encode(msgspec.json.decode(was.params, type=find(was.name, kind).Params)))
    except (UnknownComponent, msgspec.MsgspecError):
        return was.params


def _shape(value: Any, kind: Any, path: str) -> Iterator[Fault]:
    """Where `value` differs from the type, each place by itself."""
    if kind is msgspec.Raw:
        return
    if get_origin(kind) in (Union, types.UnionType) and (optional := _optional(kind)) is not None:
        if value is not None:
            yield from _shape(value, optional, path)
    elif isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        yield from _struct(value, kind, path)
    elif get_origin(kind) is list:
        if not isinstance(value, list):
            yield Fault(path, f"must be a list, got {_short(value)}")
            return
        for number, each in enumerate(value):
            yield from _shape(each, get_args(kind)[0], f"{path}[{number}]")
    elif get_origin(kind) is dict:
        if not isinstance(value, dict):
            yield Fault(path, f"must be an object, got {_short(value)}")
            return
        for key, each in value.items():
            yield from _shape(each, get_args(kind)[1], f"{path}.{key}")
    else:
        try:
            msgspec.convert(value, kind)
        except (msgspec.ValidationError, OverflowError) as error:
            expected = str(error).split(", got")[0].replace("`", "").replace("Expected", "must be")
            yield Fault(path, f"{expected[:1].lower()}{expected[1:]}, got {_short(value)}")


def _struct(value: Any, kind: type[msgspec.Struct], path: str) -> Iterator[Fault]:
    fields = msgspec.structs.fields(kind)
    hints = get_type_hints(kind, include_extras=True)
    if kind.__struct_config__.array_like:
        if not isinstance(value, list) or len(value) != len(fields):
            yield Fault(path, f"must be a list of {', '.join(f.name for f in fields)}, got {_short(value)}")
            return
        value = {field.encode_name: each for field, each in zip(fields, value, strict=True)}
    if not isinstance(value, dict):
        yield Fault(path, f"must be an object, got {_short(value)}")
        return
    known = {field.encode_name for field in fields}
    for key in value:
        if key not in known:
            yield Fault(f"{path}.{key}", "is unknown here")
    for field in fields:
        if field.encode_name in value:
            yield from _shape(value[field.encode_name], hints[field.name], f"{path}.{field.encode_name}")
        elif field.required:
            yield Fault(f"{path}.{field.encode_name}", "is missing")


def _numbers(state: PortfolioState) -> Iterator[Fault]:
    for name in ("incarnation", "pseq", "decided"):
        if getattr(state, name) < 0:
            yield Fault(f"state.{name}", f"must not be negative, got {getattr(state, name)}")
    if not 0 <= state.day <= _LAST_DAY:
        yield Fault("state.day", f"is no day: {state.day}")
    for number, watch in enumerate(state.watches):
        if not 0 <= watch.day <= _LAST_DAY:
            yield Fault(f"state.watches[{number}].day", f"is no day: {watch.day}")
        if any(watch.code == other.code for other in state.watches[:number]):
            yield Fault(f"state.watches[{number}].code", f"{watch.code!r} is given twice")
        for name in ("price", "raw", "prev_close"):
            if not abs(getattr(watch, name) or 0) < _LARGEST:
                yield Fault(f"state.watches[{number}].{name}", f"is no price: {getattr(watch, name)}")


def _books(state: PortfolioState, rules: MarketRules, market: str) -> Iterator[Fault]:
    ledger = state.ledger
    amounts = (ledger.initial, ledger.cash, ledger.frozen, ledger.realised, ledger.fees, ledger.value)
    if any(abs(amount) > _LARGEST for amount in amounts):
        yield Fault("state.ledger", "holds more money than there is")
        return
    for code, position in ledger.positions.items():
        path = f"state.ledger.positions.{code}"
        if wrong := fault_of(code, market):
            yield Fault(path, wrong)
        if position.code != code:
            yield Fault(f"{path}.code", f"must be {code!r}, got {position.code!r}")
        if position.volume == 0 or (position.volume < 0 and not rules.shorting):
            yield Fault(f"{path}.volume", f"must be above 0, got {position.volume}")
        if min(position.locked, position.frozen, position.last_price, position.locked_day) < 0:
            yield Fault(path, "locked, frozen, locked_day and last_price must not be negative")
        if (position.multiplier, position.margin_rate) != (rules.multiplier(code), rules.margin_rate(code)):
            yield Fault(path, "its multiplier and margin_rate are not those of the market")
    for order_id, open_order in ledger.orders.items():
        if open_order.order.order_id != order_id:
            yield Fault(f"state.ledger.orders.{order_id}", f"is order {open_order.order.order_id!r}")
    if sum(position.value for position in ledger.positions.values()) != ledger.value:
        yield Fault("state.ledger.value", "is not the value of the positions at their last prices")
    if ledger.initial + ledger.realised + ledger.unrealised != ledger.total_value:
        yield Fault("state.ledger", "does not balance: initial + realised + unrealised is not cash + value")
    if sum(each.frozen for each in ledger.orders.values()) != ledger.frozen:
        yield Fault("state.ledger.frozen", "is not what the open orders hold back")


def _optional(kind: Any) -> Any:
    """X of `X | None`; None for another union, which is checked as a whole."""
    kinds = [each for each in get_args(kind) if each is not type(None)]
    return kinds[0] if len(kinds) == 1 and len(get_args(kind)) == 2 else None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= 40 else f"{text[:39]}…"
