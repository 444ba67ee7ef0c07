"""/api/schema/ and /api/docs/: the API for programs (OpenAPI 3.1) and for people."""

from __future__ import annotations

from drf_spectacular.renderers import (
    OpenApiJsonRenderer,
    OpenApiJsonRenderer2,
    OpenApiYamlRenderer,
    OpenApiYamlRenderer2,
)
from drf_spectacular.utils import extend_schema
from drf_spectacular.views import SpectacularAPIView, SpectacularSwaggerView
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response

from portfolios.api.kit.errors import ERROR
from portfolios.api.kit.route import OpenView


class Schema(OpenView, SpectacularAPIView):
    renderer_classes = [OpenApiJsonRenderer2, OpenApiJsonRenderer, OpenApiYamlRenderer, OpenApiYamlRenderer2]

    @extend_schema(
        operation_id="schema",
        summary="This description",
        tags=["platform"],
        parameters=[],
        auth=[],
        responses={
            (200, "application/json"): {"type": "object", "additionalProperties": True},
            ("default", "application/json"): ERROR,
        },
    )
    def get(self, request: Request) -> Response:
        """OpenAPI 3.1, as JSON; as YAML with `Accept: application/yaml`."""
        return self._get_schema_response(request)  # type: ignore[no-untyped-call]


class Docs(SpectacularSwaggerView):
    permission_classes = [AllowAny]
    authentication_classes: list[type] = []
    throttle_classes: list[type] = []
    url_name = "api-schema"
