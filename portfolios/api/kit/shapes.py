"""JSON Schema in few words. One shape both documents a body, a query or an answer, and checks what comes in by it.

A shape that has a name is a component of `/api/schema/`, so that a generated client has a class for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

Shape: TypeAlias = dict[str, Any]

LARGEST = 2**31 - 1
MOMENT: Shape = {"type": "string", "format": "date-time"}
BOOLEAN: Shape = {"type": "boolean"}
NUMBER: Shape = {"type": "number"}
INTEGER: Shape = {"type": "integer"}
COUNT: Shape = {"type": "integer", "minimum": 0}
ANYTHING: Shape = {"type": "object", "additionalProperties": True}

_components: dict[str, Shape | Callable[[], Shape]] = {}
_checked_as: dict[str, Shape] = {}


def text(description: str = "", **more: Any) -> Shape:
    return described({"type": "string", **more}, description)


def one_of(values: Sequence[str], description: str = "") -> Shape:
    return described({"type": "string", "enum": list(values)}, description)


def described(shape: Shape, description: str) -> Shape:
    return {**shape, "description": description} if description else shape


def maybe(shape: Shape) -> Shape:
    """The shape, or null."""
    if isinstance(shape.get("type"), str) and "enum" not in shape:
        return {**shape, "type": [shape["type"], "null"]}
    return {"anyOf": [shape, {"type": "null"}]}


def many(shape: Shape, **more: Any) -> Shape:
    return {"type": "array", "items": shape, **more}


def answer(**fields: Shape) -> Shape:
    """An object that goes out: every field is there."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def body(required: Sequence[str] = (), **fields: Shape) -> Shape:
    """An object that comes in: a field that is not known is an error."""
    shape: Shape = {"type": "object", "properties": fields, "additionalProperties": False}
    return {**shape, "required": list(required)} if required else shape


def named(name: str, shape: Shape | Callable[[], Shape], checked_as: Shape | None = None) -> Shape:
    """A reference to `shape` under this name. A function is asked each time the schema is made.

    `checked_as`: what is looked at here, where somebody else looks closer and says it better.
    """
    _components[name] = shape
    if checked_as is not None:
        _checked_as[name] = checked_as
    return {"$ref": f"#/components/schemas/{name}"}


def choices(name: str, values: Sequence[str], description: str = "") -> Shape:
    """A named enumeration."""
    return named(name, one_of(values, description))


def components() -> dict[str, Shape]:
    return {name: shape() if callable(shape) else shape for name, shape in sorted(_components.items())}


def checked_components() -> dict[str, Shape]:
    """The named shapes as bodies are checked by them."""
    plain = {name: shape for name, shape in _components.items() if not callable(shape)}
    return {**plain, **_checked_as}


def resolved(shape: Mapping[str, Any]) -> Shape:
    """The shape itself where `shape` refers to a named one."""
    reference = shape.get("$ref")
    if reference is None:
        return dict(shape)
    found = _components[str(reference).rpartition("/")[2]]
    return found() if callable(found) else found
