"""The configuration as a person or a log may see it: every setting with its source, secrets masked."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, SecretStr

MASK = "********"
_SECRET_WORDS = (
    "token",
    "secret",
    "password",
    "passwd",
    "credential",
    "api_key",
    "apikey",
    "private_key",
    "access_key",
)
# The password of an address, `scheme://user:password@host`.
_IN_ADDRESS = re.compile(r"(://[^/@\s:]*:)[^/@\s]+(?=@)")


@dataclass(frozen=True)
class Setting:
    """One setting: its dotted key, its value in plain JSON types, and where it came from."""

    key: str
    value: Any
    source: str

    @property
    def text(self) -> str:
        """The value as a table shows it."""
        if self.value is None:
            return ""
        return ", ".join(map(str, self.value)) if isinstance(self.value, list) else str(self.value)


def settings(config: BaseModel, origin: Mapping[str, str]) -> list[Setting]:
    """Every setting in the order of the sections; a secret that is set is shown as a row of stars."""
    return [Setting(key, value, origin.get(key, "default")) for key, value in _flatten("", config)]


def _flatten(prefix: str, value: Any) -> list[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        items = [(name, getattr(value, name)) for name in type(value).model_fields]
    elif isinstance(value, Mapping) and value:
        items = [(str(name), item) for name, item in value.items()]
    elif isinstance(value, list) and any(isinstance(item, Mapping | list) for item in value):
        items = [(str(n), item) for n, item in enumerate(value)]
    else:
        key = prefix.removesuffix(".")
        return [(key, _shown(key, value))]
    return [row for name, item in items for row in _flatten(f"{prefix}{name}.", item)]


def _shown(key: str, value: Any) -> Any:
    if isinstance(value, SecretStr):
        return MASK if value.get_secret_value() else ""
    if value not in (None, "", {}) and any(word in key.lower() for word in _SECRET_WORDS):
        return MASK
    if isinstance(value, tuple | list):
        return [_shown(key, item) for item in value]
    if isinstance(value, bool | int | float) or value is None:
        return value
    if isinstance(value, Mapping):
        return {}
    return _IN_ADDRESS.sub(rf"\1{MASK}", str(value))
