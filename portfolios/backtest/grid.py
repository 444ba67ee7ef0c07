"""The grid of a sweep: values for some places of a configuration, and the configurations that come of them.

An axis is `PLACE=VALUES`: `strategy.params.short_period=3,5,8`, a range with both ends `…=10..60..10`, or
`risk_managements[0].params.loss_limit=5,8`. What is wrong with a value by itself is a fault; what is wrong only beside
other values (a short average that is not the shorter) leaves a combination out.
"""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from itertools import product
from math import prod
from typing import Any, NamedTuple

import msgspec

from portfolios import configs
from portfolios.backtest.run import market_of_config
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.kernel.registry import UnknownComponent, field_types, find

MOST = 10_000
"""Combinations of one grid; more are a slip of the pen."""

_STEP = re.compile(r"([^.\[\]]+)((?:\[\d+\])*)")
_PARAMETER = re.compile(r"(strategy|sizer|risk_managements\[\d+\])\.params\.([^.\[\]]+)")


class Axis(NamedTuple):
    """A place of the configuration, and the values that it takes in turn."""

    path: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Point:
    """One combination: its values by path, and the whole configuration. `fault`: why it is left out."""

    values: dict[str, Any]
    config: dict[str, Any]
    fault: str = ""


def axes_of(texts: Sequence[str]) -> list[Axis]:
    """The axes as they were given on a command line. InvalidConfig with every fault."""
    axes: list[Axis] = []
    faults: list[Fault] = []
    for text in texts:
        path, equals, given = text.partition("=")
        path = path.strip()
        try:
            if not equals or not path:
                raise ValueError(f"must be PLACE=VALUES, such as strategy.params.short_period=3,5,8, got {text!r}")
            if path in {axis.path for axis in axes}:
                raise ValueError(f"{path} is given twice")
            values = _values(path, given)
            doubles = {repr(value) for number, value in enumerate(values) if value in values[:number]}
            if doubles:
                raise ValueError(f"{path} has {', '.join(sorted(doubles))} twice")
            axes.append(Axis(path, values))
        except ValueError as error:
            faults.append(Fault("--grid", str(error)))
    if not axes and not faults:
        faults.append(Fault("--grid", "is missing: it says what is to be tried, strategy.params.short_period=3,5,8"))
    size = prod(len(axis.values) for axis in axes)
    if not faults and size > MOST:
        faults.append(Fault("--grid", f"has {size:,} combinations: at most {MOST:,} can be run"))
    if faults:
        raise InvalidConfig(faults)
    return axes


def points_of(base: Any, axes: Sequence[Axis], market: str | None) -> list[Point]:
    """Every combination, in the order of the axes, those that are not valid with their `fault`.

    InvalidConfig with every fault of a single value, and of the rest of the configuration; with those of the first
    combination if none is valid. `market` None: that of each configuration's first code.
    """
    if not isinstance(base, Mapping):
        raise InvalidConfig([Fault("config", "must be an object")])
    misplaced = [fault for axis in axes if (fault := _misplaced(base, axis.path))]
    if misplaced:
        raise InvalidConfig(misplaced)
    tried: list[tuple[Point, list[Fault]]] = []
    for values in product(*(axis.values for axis in axes)):
        named = dict(zip((axis.path for axis in axes), values, strict=True))
        config = copy.deepcopy(dict(base))
        for path, value in named.items():
            _put(config, path, value)
        found = configs.faults_of(config, market or market_of_config(config))
        tried.append((Point(named, config, "; ".join(map(str, found))), found))
    faults = list(dict.fromkeys([*_of_values(axes, tried), *_of_all(axes, tried)]))
    if not faults and all(found for _, found in tried):
        faults = tried[0][1]
    if faults:
        raise InvalidConfig(faults)
    return [point for point, _ in tried]


def _of_values(axes: Sequence[Axis], tried: Sequence[tuple[Point, list[Fault]]]) -> Iterator[Fault]:
    """What is wrong with a value whatever stands beside it."""
    for axis in axes:
        for value in axis.values:
            beside = [(point, found) for point, found in tried if point.values[axis.path] == value]
            always = set.intersection(*({fault for fault in found if _at(axis.path, fault)} for _, found in beside))
            point, first = beside[0]
            yield from (fault for fault in first if fault in always and not _fits(point.config, axis.path, value))


def _of_all(axes: Sequence[Axis], tried: Sequence[tuple[Point, list[Fault]]]) -> Iterator[Fault]:
    """What is wrong in every combination, and so not the grid's doing."""
    always = set.intersection(*(set(found) for _, found in tried))
    yield from (fault for fault in tried[0][1] if fault in always and not any(_at(axis.path, fault) for axis in axes))


def _at(path: str, fault: Fault) -> bool:
    return fault.path == path or fault.path.startswith((f"{path}.", f"{path}["))


def _fits(config: Mapping[str, Any], path: str, value: Any) -> bool:
    """Whether a parameter's own type and range take the value: a fault of it is then one beside the others."""
    found = _PARAMETER.fullmatch(path)
    if found is None:
        return False
    where, name = found.groups()
    kind = "risk" if where.startswith("risk") else where
    try:
        types = field_types(find(_get(config, where)["name"], kind).Params)
        msgspec.convert(value, types[name])
    except (UnknownComponent, LookupError, TypeError, msgspec.ValidationError):
        return False
    return True


# Places --------------------------------------------------------------------------------------------------------------


def _steps(path: str) -> list[str | int]:
    steps: list[str | int] = []
    for part in path.split("."):
        found = _STEP.fullmatch(part)
        if found is None:
            raise ValueError(f"{path!r} is no place such as strategy.params.short_period")
        name, indexes = found.groups()
        steps += [name, *(int(index) for index in re.findall(r"\d+", indexes))]
    return steps


def _misplaced(base: Mapping[str, Any], path: str) -> Fault | None:
    """Why nothing can be put there, or None. A key that is not known the configuration's own checks tell."""
    try:
        _put(copy.deepcopy(dict(base)), path, None)
    except ValueError as error:
        return Fault("--grid", str(error))
    except (LookupError, TypeError):
        return Fault("--grid", f"the configuration has no place {path}")
    return None


def _put(config: dict[str, Any], path: str, value: Any) -> None:
    *steps, last = _steps(path)
    at: Any = config
    for step in steps:
        at = at.setdefault(step, {}) if isinstance(at, dict) and isinstance(step, str) else at[step]
    if not isinstance(last, int if isinstance(at, list) else str):
        raise TypeError(path)
    at[last] = value


def _get(config: Any, path: str) -> Any:
    for step in _steps(path):
        config = config[step]
    return config


# Values --------------------------------------------------------------------------------------------------------------


def _values(path: str, text: str) -> tuple[Any, ...]:
    if ".." in text:
        return tuple(_range(path, text))
    try:
        values = json.loads(f"[{text}]")
    except ValueError:
        values = [_scalar(part) for part in text.split(",")]
    if not values or "" in values:
        raise ValueError(f"{path} has a value missing in {text!r}")
    return tuple(values)


def _scalar(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text.strip()


def _range(path: str, text: str) -> Iterator[int | float]:
    """`1..9..2`: from, to (included, if it is met) and step (1, if not given); exact for decimals."""
    try:
        first, last, *step = map(Decimal, text.split(".."))
        by = step[0] if step else Decimal(1)
    except (InvalidOperation, ValueError):
        raise ValueError(f"{path} must be a range such as 10..60..10, got {text!r}") from None
    if len(step) > 1 or not (first.is_finite() and last.is_finite() and by.is_finite()) or by <= 0 or last < first:
        raise ValueError(f"{path} must be a range such as 10..60..10, from below to above, got {text!r}")
    if (last - first) / by >= MOST:
        raise ValueError(f"{path} has more than {MOST:,} values in {text!r}")
    whole = all(number == number.to_integral_value() for number in (first, by))
    while first <= last:
        yield int(first) if whole else float(first)
        first += by
