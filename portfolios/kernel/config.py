"""The configuration of a portfolio (SPEC P2): parsed once, strictly, into a frozen object.

`parse` reports every fault of a config at once, each with its path, so that whoever wrote it (API, admin, CLI,
import) can show them all.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple, get_args

import msgspec

from portfolios.kernel import codes as instrument_codes
from portfolios.kernel.component import Component, param
from portfolios.kernel.registry import UnknownComponent, field_types, find

__all__ = ["ComponentConfig", "ConfigErrors", "Fault", "Policy", "PortfolioConfig", "parse"]


class Fault(NamedTuple):
    """One thing wrong with a config, and where: `strategy.params.short_period`."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class ConfigErrors(ValueError):
    """A config with faults: all of them, in the order of the config."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        self.faults = list(faults)
        super().__init__("; ".join(str(fault) for fault in self.faults))


Bar = Literal["tick", "1m", "5m", "15m", "1h", "1d"]


class Policy(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How a portfolio treats overload, doubtful prices and repetition. Durations in seconds of event time."""

    backpressure: Annotated[
        Literal["catch_up", "conflate", "drop"], param("What to do with live ticks when the queue is full")
    ] = "catch_up"
    max_signal_age: (
        Annotated[float, param("A price older than the newest by more than this raises no signal", unit="s", gt=0)]
        | None
    ) = None
    min_signal_interval: Annotated[float, param("Least time between two signals of one code", unit="s", ge=0)] = 0
    degraded_send: Annotated[
        Literal["exits", "all", "off"], param("Which orders may leave while the node is degraded")
    ] = "exits"
    pyramiding: Annotated[bool, param("Whether a buy adds to what is held")] = False
    bar: Annotated[Bar, param("What the strategy's periods count")] = "tick"
    st: Annotated[list[str], param("Codes under special treatment (narrower price limits)")] = []


class ComponentConfig(msgspec.Struct, frozen=True):
    """A component by name with its checked parameters, defaults filled in."""

    name: str
    params: Any
    id: str = ""


class PortfolioConfig(msgspec.Struct, frozen=True):
    strategy: ComponentConfig
    risk_managements: list[ComponentConfig]
    sizer: ComponentConfig
    codes: list[str]
    policy: Policy


def parse(config: Mapping[str, Any], market: str | None = None) -> PortfolioConfig:
    """The config as an object; ConfigErrors with every fault. `market` checks that all codes belong to it."""
    parser = _Parser()
    return parser.portfolio(config, market)


class _Parser:
    def __init__(self) -> None:
        self.faults: list[Fault] = []

    def portfolio(self, config: Any, market: str | None) -> PortfolioConfig:
        if not isinstance(config, Mapping):
            raise ConfigErrors([Fault("config", f"must be an object, got {_kind(config)}")])
        self._unknown(config, {"strategy", "risk_managements", "sizer", "codes", "policy"}, "")
        strategy = self._component(config.get("strategy"), "strategy", "strategy", "strategy_id")
        risks = self._risks(config.get("risk_managements", []))
        sizer = self._component(config.get("sizer"), "sizer", "sizer", "sizer_id")
        codes = self._codes(config.get("codes"), market)
        policy = self._struct(config.get("policy", {}), Policy, "policy")
        if policy is not None:
            for number, code in enumerate(policy.st):
                if code not in codes:
                    self._fault(f"policy.st[{number}]", f"{code!r} is not one of the portfolio's codes")
        if self.faults or strategy is None or sizer is None or policy is None:
            raise ConfigErrors(self.faults)
        return PortfolioConfig(strategy=strategy, risk_managements=risks, sizer=sizer, codes=codes, policy=policy)

    def _risks(self, given: Any) -> list[ComponentConfig]:
        if not isinstance(given, list):
            self._fault("risk_managements", f"must be a list, got {_kind(given)}")
            return []
        risks = [
            self._component(risk, "risk", f"risk_managements[{number}]", "risk_id") for number, risk in enumerate(given)
        ]
        return [risk for risk in risks if risk is not None]

    def _component(self, given: Any, kind: str, path: str, id_key: str) -> ComponentConfig | None:
        if given is None:
            self._fault(path, "is required")
            return None
        if not isinstance(given, Mapping):
            self._fault(path, f"must be an object with a name and params, got {_kind(given)}")
            return None
        self._unknown(given, {"name", "params", id_key}, path)
        identity = given.get(id_key, "")
        if not isinstance(identity, str):
            self._fault(f"{path}.{id_key}", f"must be a string, got {_kind(identity)}")
        name = given.get("name")
        if not isinstance(name, str) or not name:
            self._fault(f"{path}.name", "is required" if name is None else f"must be a name, got {name!r}")
            return None
        try:
            component: type[Component] = find(name, kind)
        except UnknownComponent as error:
            self._fault(f"{path}.name", str(error))
            return None
        params = self._struct(given.get("params", {}), component.Params, f"{path}.params")
        if params is None:
            return None
        try:
            component(params)
        except Exception as error:  # noqa: BLE001 - a user's component may fail in any way; here it is told in time
            self._fault(path, f"cannot be made: {type(error).__name__}: {error}")
            return None
        return ComponentConfig(name=name, params=params, id=str(identity))

    def _struct(self, given: Any, struct: type[msgspec.Struct], path: str) -> Any:
        """`given` as a struct, every field checked by itself; None if anything is wrong."""
        if not isinstance(given, Mapping):
            self._fault(path, f"must be an object, got {_kind(given)}")
            return None
        before = len(self.faults)
        types = field_types(struct)
        self._unknown(given, set(types), path)
        values = {}
        for field in msgspec.structs.fields(struct):
            where = f"{path}.{field.name}"
            if field.name not in given:
                if field.required:
                    self._fault(where, "is required")
                continue
            try:
                values[field.name] = msgspec.convert(given[field.name], types[field.name])
            except msgspec.ValidationError as error:
                self._fault(*_explain(where, given[field.name], str(error)))
        if len(self.faults) > before:
            return None
        try:
            made = struct(**values)
        except (TypeError, ValueError) as error:
            self._fault(path, str(error))
            return None
        check = getattr(made, "check", None)
        if check is not None:
            for name, message in check():
                self._fault(f"{path}.{name}", message)
        return made if len(self.faults) == before else None

    def _codes(self, given: Any, market: str | None) -> list[str]:
        if not isinstance(given, list) or not given:
            self._fault("codes", "is required: a list of at least one code" if not given else "must be a list")
            return []
        seen: set[str] = set()
        for number, code in enumerate(given):
            fault = instrument_codes.fault_of(code, market)
            if fault is not None:
                self._fault(f"codes[{number}]", fault)
            elif code in seen:
                self._fault(f"codes[{number}]", f"{code!r} is given twice")
            else:
                seen.add(code)
        markets = {instrument_codes.market_of(code) for code in seen}
        if market is None and len(markets) > 1:
            self._fault("codes", f"must be of one market, got {', '.join(sorted(markets))}")
        return [code for code in given if isinstance(code, str)]

    def _unknown(self, given: Mapping[str, Any], known: set[str], path: str) -> None:
        for key in given:
            if key not in known:
                allowed = ", ".join(sorted(known)) or "nothing"
                self._fault(f"{path}.{key}" if path else str(key), f"is unknown here: allowed is {allowed}")

    def _fault(self, path: str, message: str) -> None:
        self.faults.append(Fault(path, message))


def _explain(path: str, given: Any, error: str) -> tuple[str, str]:
    """msgspec's words for a value that does not fit, in ours: `Expected `int` >= 2 - at `$[0]``."""
    text, _, place = error.partition(" - at `$")
    text = text.replace("`", "").replace("Expected", "must be")
    text = text.split(", got")[0]
    return path + place.rstrip("`"), f"{text[:1].lower()}{text[1:]}, got {given!r}"


def _kind(value: Any) -> str:
    kinds: dict[type, str] = {
        type(None): "null",
        str: "a string",
        bool: "a boolean",
        int: "a number",
        float: "a number",
    }
    if isinstance(value, Mapping):
        return "an object"
    return kinds.get(type(value), "a list" if isinstance(value, list) else type(value).__name__)


BARS: tuple[str, ...] = get_args(Bar)
