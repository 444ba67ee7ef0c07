"""Checks what came in against its shape: every fault at once, each with its path, in words for who sent it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from django.http import QueryDict
from jsonschema import Draft202012Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from portfolios.api.kit.shapes import Shape, checked_components, resolved
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault

_WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
_DECIMAL = re.compile(r"-?[0-9]{1,19}(\.[0-9]{1,9})?")
_SHOWN = 100


def check(value: Any, shape: Shape, prefix: str = "") -> None:
    """Raises InvalidConfig with every fault of `value`, their paths below `prefix`."""
    root = {"components": {"schemas": checked_components()}, "allOf": [shape]}
    validator = Draft202012Validator(root, format_checker=_FORMATS)
    found = [_fault(error, prefix) for error in validator.iter_errors(value)]
    if found:
        raise InvalidConfig(sorted(set(found)))


def query(given: QueryDict, shape: Shape) -> dict[str, Any]:
    """The parameters of a query as `shape` types them, its defaults filled in. Raises InvalidConfig."""
    properties: Mapping[str, Shape] = shape["properties"]
    faults, values = [], {}
    for name, texts in given.lists():
        if len(texts) > 1:
            faults.append(Fault(name, "is given more than once"))
        elif name in properties:
            values[name] = _typed(texts[0], properties[name])
        else:
            faults.append(Fault(name, f"is unknown here: allowed is {', '.join(sorted(properties)) or 'nothing'}"))
    if faults:
        raise InvalidConfig(faults)
    check(values, shape)
    defaults = {name: one["default"] for name, one in properties.items() if "default" in one}
    return {**defaults, **values}


def _typed(value: str, shape: Shape) -> Any:
    """A number or a boolean where the shape wants one and the text is one; the text itself otherwise."""
    kind = resolved(shape).get("type")
    if kind == "integer" and _WHOLE.fullmatch(value):
        return int(value)
    if kind == "number" and _DECIMAL.fullmatch(value):
        return float(value)
    if kind == "boolean" and value in ("true", "false"):
        return value == "true"
    return value


def _fault(error: ValidationError, prefix: str) -> Fault:
    path = prefix
    for step in error.absolute_path:
        path += f"[{step}]" if isinstance(step, int) else f".{step}" if path else str(step)
    if error.validator == "required":
        missing = next(name for name in error.validator_value if name not in error.instance)
        return Fault(f"{path}.{missing}" if path else missing, "is required")
    if error.validator == "additionalProperties":
        known = error.schema.get("properties", {})
        unknown = next(name for name in error.instance if name not in known)
        allowed = ", ".join(sorted(known)) or "nothing"
        return Fault(
            f"{path}.{unknown}"[:_SHOWN] if path else unknown[:_SHOWN], f"is unknown here: allowed is {allowed}"
        )
    return Fault(path or "body", f"{_wish(error)}, got {_cut(error.instance)}")


def _wish(error: ValidationError) -> str:
    value = error.validator_value
    words = {
        "type": lambda: f"must be {_article(value)}",
        "enum": lambda: f"must be one of {', '.join(map(str, value))}",
        "minLength": lambda: f"must have at least {value} character{'s' * (value > 1)}",
        "maxLength": lambda: f"must have at most {value} characters",
        "minimum": lambda: f"must be at least {value}",
        "maximum": lambda: f"must be at most {value}",
        "exclusiveMinimum": lambda: f"must be more than {value}",
        "exclusiveMaximum": lambda: f"must be less than {value}",
        "minItems": lambda: f"must have at least {value}",
        "maxItems": lambda: f"must have at most {value}",
        "minProperties": lambda: f"must have at least {value} of its fields",
        "format": lambda: f"must be a {value}",
        "anyOf": lambda: str(error.schema.get("x-wish", "must be of another form")),
    }
    known = words.get(str(error.validator))
    return known() if known is not None else f"must fit {error.validator} {_cut(value)}"


def _article(kind: Any) -> str:
    kinds = kind if isinstance(kind, list) else [kind]
    return " or ".join(f"an {k}" if k[0] in "aeiou" else k if k == "null" else f"a {k}" for k in kinds)


def _cut(value: Any) -> str:
    shown = repr(value)
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN]}…"


_FORMATS = FormatChecker(formats=())


@_FORMATS.checks("date-time")
def _is_moment(value: object) -> bool:
    from portfolios.api.kit.moments import parse

    return not isinstance(value, str) or parse(value) is not None
