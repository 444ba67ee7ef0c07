"""/api/components: what portfolios can be made of."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api import components
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import many


class Components(ApiView):
    @route(
        "component_list",
        "Strategies, risk rules and sizers",
        tag="components",
        query={"type": "object", "properties": {"kind": components.KIND}, "additionalProperties": False},
        answer=many(components.COMPONENT),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """Each with its parameters, their types, limits and defaults."""
        return Response(components.listing(query.get("kind")))
