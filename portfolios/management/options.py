"""Reads a configuration (SPEC P2) from a command line: a file, or options of the form `NAME:k=v,k=v`."""

from __future__ import annotations

import copy
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault


def config_of(
    file: Path | None,
    strategy: str | None,
    params: Sequence[str],
    risks: Sequence[str],
    sizer: str | None,
    codes: Sequence[str],
    policies: Sequence[str],
    base: Mapping[str, Any] | None = None,
) -> Any:
    """The configuration that the options describe; over `base`, what is not given stays. Raises InvalidConfig."""
    if file is not None:
        if strategy or params or risks or sizer or codes or policies:
            raise InvalidConfig([Fault("--config", "is the whole configuration: give it alone")])
        return read_json(file)
    config: dict[str, Any] = copy.deepcopy(dict(base)) if base else {"risk_managements": []}
    faults: list[Fault] = []
    if strategy:
        config["strategy"] = {"name": strategy, "params": {}}
    if params:
        if "strategy" not in config:
            raise InvalidConfig([Fault("--strategy", "is missing: --param gives a strategy's parameters")])
        config["strategy"].setdefault("params", {}).update(_pairs(params, "--param", faults))
    if risks:
        config["risk_managements"] = [component(risk, "--risk", faults) for risk in risks]
    if sizer:
        config["sizer"] = component(sizer, "--sizer", faults)
    if codes:
        config["codes"] = [code for text in codes for code in text.replace(",", " ").split()]
    if policies:
        config.setdefault("policy", {}).update(_pairs(policies, "--policy", faults))
    if faults:
        raise InvalidConfig(faults)
    return config


def component(text: str, option: str, faults: list[Fault]) -> dict[str, Any]:
    """`NAME`, or `NAME:k=v,k=v`; NAME may be a path with a colon, `my_package.my_module:MyRule:k=v`."""
    if "=" not in text:
        return {"name": text, "params": {}}
    name, _, rest = text.partition("=")
    name, colon, first = name.rpartition(":")
    if not colon:
        faults.append(Fault(option, f"must be NAME:k=v, got {text!r}"))
    return {"name": name, "params": _pairs(_split(f"{first}={rest}"), option, faults)}


def position(text: str) -> dict[str, Any]:
    """`CODE:VOLUME@COST` or `CODE:VOLUME@COST@DATE` as `services.create` takes it. Raises InvalidConfig."""
    code, colon, rest = text.partition(":")
    volume, *paid = rest.split("@")
    if not colon or not 1 <= len(paid) <= 2:
        raise InvalidConfig([Fault("--position", f"must be CODE:VOLUME@COST or CODE:VOLUME@COST@DATE, got {text!r}")])
    since = {"date": paid[1]} if len(paid) == 2 else {}
    return {"code": code, "volume": volume, "cost_price": paid[0], **since}


def read_json(file: Path) -> Any:
    """The document in `file` (`-`: standard input). Raises InvalidConfig in one line."""
    try:
        return json.loads(sys.stdin.read() if str(file) == "-" else file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidConfig([Fault(str(file), error.strerror or str(error))]) from None
    except ValueError as error:
        raise InvalidConfig([Fault(str(file), f"is not JSON: {error}")]) from None


def _split(text: str) -> list[str]:
    """At the commas that begin another `k=`: those inside a value belong to it."""
    parts: list[str] = []
    for part in text.split(","):
        key, equals, _ = part.partition("=")
        if parts and not (equals and key.strip().isidentifier()):
            parts[-1] += f",{part}"
        else:
            parts.append(part)
    return parts


def _pairs(texts: Sequence[str], option: str, faults: list[Fault]) -> dict[str, Any]:
    values = {}
    for text in texts:
        key, equals, value = text.partition("=")
        if not equals or not key.strip():
            faults.append(Fault(option, f"must be k=v, got {text!r}"))
            continue
        values[key.strip()] = _scalar(value)
    return values


def _scalar(text: str) -> Any:
    """A value as JSON reads it; what JSON cannot read is a string."""
    try:
        return json.loads(text)
    except ValueError:
        return text
