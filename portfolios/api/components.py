"""Which components the API may put into a portfolio: a dotted path imports whatever it names, so not any.

By the API only the built-in and installed ones, those whose path begins with one of `api.components`, and what the
portfolio has already. An operator's command line is not limited.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

import msgspec
from django.conf import settings

from portfolios.api.kit.shapes import Shape, answer, choices, many, maybe, named, text
from portfolios.errors import InvalidConfig
from portfolios.kernel import registry
from portfolios.kernel.component import Component
from portfolios.kernel.config import Fault, Policy

_NUMBER = maybe({"type": "number"})
PARAMETER = named(
    "ComponentParameter",
    answer(
        name=text(),
        type=choices("ParameterType", ["integer", "number", "boolean", "string", "list"]),
        required={"type": "boolean"},
        default={"description": "Of the parameter's own type; null where there is none."},
        minimum=_NUMBER,
        maximum=_NUMBER,
        exclusive_minimum=_NUMBER,
        exclusive_maximum=_NUMBER,
        choices={"type": "array", "items": {}},
        unit=text(),
        doc=text(),
    ),
)
KIND = choices("ComponentKind", ["strategy", "risk", "sizer"])
COMPONENT = named(
    "Component", answer(name=text(), kind=KIND, doc=text(), path=text("Where its class is."), params=many(PARAMETER))
)


def listing(kind: str | None = None) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = msgspec.to_builtins(registry.describe(kind))
    return found


def check(config: Any, has: Mapping[str, Any] | None = None) -> None:
    """Raises InvalidConfig for each component that the API may not name. `has`: the portfolio's configuration as it is.

    To be called before anything reads the config closer, for that imports what it names.
    """
    mine = {name for _, name in _named_in(has or {})}
    faults = [
        Fault(f"{path}.name", f"the API knows no component {name[:100]!r}: see /api/components")
        for path, name in _named_in(config)
        # A name without a path imports nothing: if nobody knows it, that is one fault among the others.
        if name not in mine and not name.isidentifier() and not _is_allowed(name)
    ]
    if faults:
        raise InvalidConfig(faults)


def _named_in(config: Any) -> Iterator[tuple[str, str]]:
    if not isinstance(config, Mapping):
        return
    risks = config.get("risk_managements")
    places = [("strategy", config.get("strategy")), ("sizer", config.get("sizer"))]
    places += [(f"risk_managements[{n}]", risk) for n, risk in enumerate(risks if isinstance(risks, list) else [])]
    for path, component in places:
        if isinstance(component, Mapping) and isinstance(component.get("name"), str):
            yield path, component["name"]


def _is_allowed(name: str) -> bool:
    if name in _known():
        return True
    path = name.replace(":", ".")
    return any(path == prefix or path.startswith(f"{prefix}.") for prefix in settings.GINKGO.api.components)


@cache
def _known() -> frozenset[str]:
    return frozenset(info.name for info in registry.describe())


# -- the configuration's shape ----------------------------------------------------------------------------------------

_CODE = {
    "type": "string",
    "pattern": r"^([0-9]{6}\.(SH|SZ|BJ)|[0-9]{5}\.HK|[A-Z][A-Z0-9.\-]{0,9}\.US|[A-Z]{1,2}[0-9]{3,4}\.[A-Z]{2,4})$",
}
_CODES = {
    "type": "array", "items": _CODE, "minItems": 1, "uniqueItems": True,
    "description": "Instruments of the portfolio's market, such as `600519.SH`.",
}  # fmt: skip


def _component_shape(kind: str, id_key: str) -> Shape:
    """One variant for each component of a kind, with the parameters it declares."""
    variants = []
    for info in registry.describe(kind):
        component: type[Component] = registry.find(info.name)
        variants.append(
            {
                "type": "object",
                "title": info.name,
                "description": info.doc,
                "properties": {
                    "name": {"type": "string", "const": info.name},
                    id_key: text("The caller's own name for it."),
                    "params": _struct(component.Params),
                },
                "required": ["name", *(["params"] if any(p.required for p in info.params) else [])],
                "additionalProperties": False,
            }
        )
    if settings.GINKGO.api.components:
        prefixes = "|".join(prefix.replace(".", r"\.") for prefix in settings.GINKGO.api.components)
        variants.append(
            {
                "type": "object",
                "title": f"Own{kind.capitalize()}",
                "properties": {
                    "name": text("Of a module that this installation allows.", pattern=rf"^({prefixes})[.:]"),
                    id_key: text(),
                    "params": {"type": "object", "additionalProperties": True},
                },
                "required": ["name"],
                "additionalProperties": False,
            }
        )
    return {"oneOf": variants}


def _struct(struct: type[msgspec.Struct]) -> Shape:
    schema = msgspec.json.schema(struct)
    definitions = schema.get("$defs", {})
    if len(definitions) != 1:
        return {"type": "object", "additionalProperties": True}
    (shape,) = definitions.values()
    return {"type": "object", "properties": shape["properties"], "additionalProperties": False}


def _parts() -> dict[str, Shape]:
    policy = _struct(Policy)
    policy["properties"] = {**policy["properties"], "st": {**_CODES, "minItems": 0, "default": []}}
    return {
        "strategy": _component_shape("strategy", "strategy_id"),
        "risk_managements": many(_component_shape("risk", "risk_id")),
        "sizer": _component_shape("sizer", "sizer_id"),
        "codes": _CODES,
        "policy": policy,
    }


def _config() -> Shape:
    return {
        "type": "object",
        "properties": _parts(),
        "required": ["strategy", "sizer", "codes"],
        "additionalProperties": False,
    }


CONFIG = named("PortfolioConfig", _config, {"type": "object"})
CONFIG_PARTS = named(
    "PortfolioConfigParts",
    lambda: {"type": "object", "properties": _parts(), "additionalProperties": False},
    {"type": "object"},
)
_STORED = named(
    "StoredComponent",
    {
        "type": "object",
        "properties": {"name": text(), "params": {"type": "object", "additionalProperties": True}},
        "required": ["name"],
        "additionalProperties": True,
    },
)
STORED_CONFIG = named(
    "StoredConfig",
    {
        "type": "object",
        "properties": {
            "strategy": _STORED,
            "risk_managements": many(_STORED),
            "sizer": _STORED,
            "codes": many(text()),
            "policy": {"type": "object", "additionalProperties": True},
        },
        "required": ["strategy", "sizer", "codes"],
        "additionalProperties": True,
    },
)
