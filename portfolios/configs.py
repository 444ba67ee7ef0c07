"""A portfolio's configuration as it is written: validated (SPEC P2), compared, described."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from typing import Any, NamedTuple

from portfolios.errors import InvalidConfig
from portfolios.kernel.config import ConfigErrors, Fault, parse
from portfolios.kernel.rules import rules_for
from portfolios.models.portfolio import Market

_LARGEST_CASH = Decimal(10) ** 15
_CHANGE_LENGTH = 500


class Change(NamedTuple):
    """What differs at `path`; a value that is not there is None."""

    path: str
    before: Any
    after: Any

    def __str__(self) -> str:
        return f"{self.path}: {_shown(self.before)} → {_shown(self.after)}"


def validate(config: Any, market: str) -> dict[str, Any]:
    """`config` as it will be stored, checked for `market`. Raises InvalidConfig with every fault."""
    faults = faults_of(config, market)
    if faults:
        raise InvalidConfig(faults)
    stored: dict[str, Any] = json.loads(json.dumps(config))
    return stored


def faults_of(config: Any, market: str) -> list[Fault]:
    """All that is wrong with it, or nothing. An unknown market is a fault of its own, at `market`."""
    faults = market_faults(market)
    try:
        json.dumps(config, allow_nan=False)
    except (TypeError, ValueError) as error:
        return [*faults, Fault("config", f"is not JSON: {error}")]
    try:
        parse(config, None if faults else market)
    except ConfigErrors as error:
        faults += error.faults
    return faults


def market_faults(market: str) -> list[Fault]:
    if market not in Market.values:
        return [Fault("market", f"must be one of {', '.join(Market.values)}, got {market!r}")]
    try:
        rules_for(market)
    except ValueError as error:
        return [Fault("market", str(error))]
    return []


def cash_of(value: Any) -> tuple[Decimal | None, list[Fault]]:
    """`initial_cash` as exact money (to 0.0001), or what is wrong with it."""
    try:
        cash = Decimal(str(value).replace("_", ""))
    except InvalidOperation:
        return None, [Fault("initial_cash", f"must be an amount of money, got {value!r}")]
    if not cash.is_finite() or not 0 < cash < _LARGEST_CASH:
        return None, [Fault("initial_cash", f"must be more than 0 and less than {_LARGEST_CASH:,}, got {value}")]
    if cash != cash.quantize(Decimal("0.0001")):
        return None, [Fault("initial_cash", f"must have at most 4 decimal places, got {value}")]
    return cash.quantize(Decimal("0.0001")), []


def diff(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """What differs, by path in the order of the paths."""
    old, new = dict(_leaves("", before)), dict(_leaves("", after))
    return [
        Change(path, old.get(path), new.get(path))
        for path in sorted(old.keys() | new.keys())
        if old.get(path) != new.get(path)
    ]


def describe(changes: list[Change]) -> str:
    """One line of at most 500 characters for a list of changes."""
    text = "; ".join(map(str, changes))
    return text if len(text) <= _CHANGE_LENGTH else text[: _CHANGE_LENGTH - 1] + "…"


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """(path, value) of everything that is not an object. Risk rules are named by their place, codes are one value."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for number, inner in enumerate(value):
            yield from _leaves(f"{path}[{number}]", inner)
    else:
        yield path, value


def _shown(value: Any) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=False)
