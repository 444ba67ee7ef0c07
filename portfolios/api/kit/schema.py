"""What drf-spectacular cannot know: the named shapes, and how callers are recognised."""

from __future__ import annotations

from typing import Any

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema

from portfolios.api.kit.shapes import components, resolved


class _Key(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "portfolios.api.kit.authentication.KeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "apiKey", "in": "header", "name": "X-API-Key",
            "description": "Made by `ginkgo apikey create`. Also taken as a bearer token.",
        }  # fmt: skip


class _Token(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]
    target_class = "portfolios.api.kit.authentication.TokenAuthentication"
    name = "token"

    def get_security_definition(self, auto_schema: Any) -> dict[str, str]:
        return {
            "type": "http", "scheme": "bearer", "bearerFormat": "JWT",
            "description": "The `access` of `POST /api/token/`.",
        }  # fmt: skip


class Schema(AutoSchema):
    """The settings name it for every view, and so these extensions are there whenever a view is described."""


def add_components(result: dict[str, Any], **_: Any) -> dict[str, Any]:
    """A postprocessing hook."""
    schemas = result.setdefault("components", {}).setdefault("schemas", {})
    schemas.update(components())
    result["components"]["schemas"] = dict(sorted(schemas.items()))
    for operations in result["paths"].values():
        for operation in operations.values():
            _say_whether_a_body_is_needed(operation)
    return result


def _say_whether_a_body_is_needed(operation: dict[str, Any]) -> None:
    content = operation.get("requestBody", {}).get("content", {})
    shape = resolved(content.get("application/json", {}).get("schema", {}))
    if shape.get("required") or shape.get("minProperties"):
        operation["requestBody"]["required"] = True
