"""The configuration as a form: its inputs are made from the components' own declarations, no JSON needs to be known.

What is sent is the one JSON document that API, commands and import take too, and it is validated the same way. Without
JavaScript the document itself is edited.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from django.utils.html import json_script
from django.utils.safestring import SafeString
from unfold.widgets import INPUT_CLASSES, SELECT_CLASSES, UnfoldAdminTextareaWidget

from portfolios.kernel import registry
from portfolios.kernel.config import Policy
from portfolios.kernel.registry import ComponentInfo, UnknownComponent

_TEXT = {"rows": 24, "style": "font-family:ui-monospace,monospace;font-size:13px;max-width:none"}


class ConfigWidget(UnfoldAdminTextareaWidget):
    """A text area, and beside it what the page needs to make a form of it. `config` is the one being edited."""

    class Media:
        js = ("portfolios/config_form.js",)
        css = {"all": ("portfolios/config_form.css",)}

    def __init__(self, config: Any = None) -> None:
        super().__init__(attrs={**_TEXT, "data-config-form": ""})
        self.config = config

    def render(self, name: str, value: Any, attrs: Any = None, renderer: Any = None) -> SafeString:
        area: SafeString = super().render(name, value, attrs, renderer)
        described = json_script(
            {
                "components": msgspec.to_builtins(components(self.config)),
                "policy": msgspec.to_builtins(registry.params_of(Policy)),
                "input": " ".join(INPUT_CLASSES),
                "select": " ".join(SELECT_CLASSES),
            },
            f"{(attrs or {}).get('id', name)}-described",
        )
        return area + described


def components(config: Any) -> list[ComponentInfo]:
    """All known ones, and those of one's own that `config` names and that can be loaded."""
    found = registry.describe()
    known = {info.name for info in found}
    for name in _named(config):
        if name not in known:
            try:
                found.append(registry.describe_one(name))
            except UnknownComponent:
                continue  # its parameters are shown as they stand
            known.add(name)
    return found


def _named(config: Any) -> list[str]:
    if not isinstance(config, Mapping):
        return []
    risks = config.get("risk_managements")
    parts = [config.get("strategy"), config.get("sizer"), *(risks if isinstance(risks, list) else [])]
    return [part["name"] for part in parts if isinstance(part, Mapping) and isinstance(part.get("name"), str)]
