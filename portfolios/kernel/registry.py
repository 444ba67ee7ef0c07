"""Finds components by name, dotted path or entry point, and describes their parameters from their declaration.

A user's own component is named by its path (`my_package.my_module:MyStrategy` or with a dot) or announced by an
installed package under the entry point group `ginkgo.components`; nothing here needs to be changed for it.
"""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from importlib.metadata import entry_points
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import NODEFAULT

from portfolios.kernel.component import Component

ENTRY_POINT_GROUP = "ginkgo.components"

_BUILT_IN = {
    "TrendFollowStrategy": "portfolios.kernel.strategies.trend_follow",
    "MeanReversionStrategy": "portfolios.kernel.strategies.mean_reversion",
    "MomentumStrategy": "portfolios.kernel.strategies.momentum",
    "DualThrustStrategy": "portfolios.kernel.strategies.dual_thrust",
    "PositionRatioRisk": "portfolios.kernel.risks.position_ratio",
    "LossLimitRisk": "portfolios.kernel.risks.loss_limit",
    "ProfitTargetRisk": "portfolios.kernel.risks.profit_target",
    "MaxDrawdownRisk": "portfolios.kernel.risks.max_drawdown",
    "TradingTimeRisk": "portfolios.kernel.risks.trading_time",
    "FixedAmountSizer": "portfolios.kernel.sizers.fixed_amount",
    "RatioSizer": "portfolios.kernel.sizers.ratio",
    "ATRSizer": "portfolios.kernel.sizers.atr",
}


class UnknownComponent(LookupError):
    """No component answers to that name; the message says what was looked for."""


class ParamInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One parameter as it is declared. `type` is integer, number, boolean, string or list."""

    name: str
    type: str
    required: bool
    default: Any = None
    minimum: float | None = None
    maximum: float | None = None
    exclusive_minimum: float | None = None
    exclusive_maximum: float | None = None
    choices: list[Any] = []
    unit: str = ""
    doc: str = ""


class ComponentInfo(msgspec.Struct, frozen=True, kw_only=True):
    """A component as API, CLI and admin list it. `kind` is strategy, risk or sizer."""

    name: str
    kind: str
    doc: str
    path: str
    params: list[ParamInfo]


def find(name: str, kind: str | None = None) -> type[Component]:
    """The component class called `name`; UnknownComponent if there is none, or it is not of `kind`."""
    component = _load(name)
    if kind is not None and component.kind != kind:
        raise UnknownComponent(f"{name!r} is a {component.kind}, not a {kind}")
    return component


def describe(kind: str | None = None) -> list[ComponentInfo]:
    """All built-in and installed components, sorted by kind and name."""
    names = [*_BUILT_IN, *_installed()]
    found = [describe_one(name) for name in names]
    order = {"strategy": 0, "risk": 1, "sizer": 2}
    return sorted((info for info in found if kind in (None, info.kind)), key=lambda info: (order[info.kind], info.name))


def describe_one(name: str) -> ComponentInfo:
    component = find(name)
    return ComponentInfo(
        name=name,
        kind=component.kind,
        doc=inspect.cleandoc(component.__doc__ or "").split("\n\n")[0].replace("\n", " "),
        path=f"{component.__module__}:{component.__qualname__}",
        params=params_of(component.Params),
    )


def params_of(params: type[msgspec.Struct]) -> list[ParamInfo]:
    """The declared parameters of a `Params` struct (or of `config.Policy`)."""
    hints = field_types(params)
    return [_param(field, hints[field.name]) for field in msgspec.structs.fields(params)]


@cache
def field_types(params: type[msgspec.Struct]) -> Mapping[str, Any]:
    return get_type_hints(params, include_extras=True)


@cache
def _load(name: str) -> type[Component]:
    if name in _BUILT_IN:
        return _component(name, getattr(importlib.import_module(_BUILT_IN[name]), name))
    installed = _installed().get(name)
    if installed is not None:
        return _component(name, installed.load())
    module, _, attribute = name.partition(":") if ":" in name else name.rpartition(".")
    if not module or not attribute:
        raise UnknownComponent(f"there is no component {name!r}: use a known name or my_package.my_module:MyClass")
    try:
        return _component(name, getattr(importlib.import_module(module), attribute))
    except UnknownComponent:
        raise
    except Exception as error:  # a user's module may fail in any way as it is imported
        raise UnknownComponent(f"cannot load component {name!r}: {type(error).__name__}: {error}") from error


def _component(name: str, found: Any) -> type[Component]:
    if not (isinstance(found, type) and issubclass(found, Component) and found.kind):
        raise UnknownComponent(f"{name!r} is not a strategy, risk rule or sizer")
    try:
        params_of(found.Params)
    except (TypeError, NameError) as error:
        raise UnknownComponent(
            f"component {name!r} declares its parameters in a way that cannot be read: {error}"
        ) from error
    return found


@cache
def _installed() -> dict[str, Any]:
    return {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}


def _param(field: Any, hint: Any) -> ParamInfo:
    schema = msgspec.json.schema(hint)
    # `Annotated[float, …] | None`: what may also be null is described by what it is otherwise.
    optional = [each for each in get_args(hint) if each is not type(None)]
    if get_origin(hint) in (Union, UnionType) and len(optional) == 1:
        hint = optional[0]
        schema = next(each for each in schema["anyOf"] if each.get("type") != "null")
    metas = [each for each in get_args(hint)[1:] if isinstance(each, msgspec.Meta)] if _is_annotated(hint) else []
    meta = metas[0] if metas else msgspec.Meta()
    default = field.default if field.default is not NODEFAULT else None
    if field.default_factory is not NODEFAULT:
        default = field.default_factory()
    kind = str(schema.get("type", "string"))
    return ParamInfo(
        name=field.name,
        type="list" if kind == "array" else kind,
        required=field.required,
        default=default,
        minimum=meta.ge,
        maximum=meta.le,
        exclusive_minimum=meta.gt,
        exclusive_maximum=meta.lt,
        choices=list(schema.get("enum", [])),
        unit=(meta.extra or {}).get("unit", ""),
        doc=meta.description or "",
    )


def _is_annotated(hint: Any) -> bool:
    return get_origin(hint) is Annotated
