"""The REST API's root and what belongs to no app: the components there are."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
from django.urls import path
from rest_framework.decorators import api_view, permission_classes
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from portfolios.kernel import registry


@api_view(["GET"])
@permission_classes([AllowAny])
def root(request: Request) -> Response:
    """Where everything is."""
    return Response(
        {
            "name": "Ginkgo Live",
            "version": _version(),
            "components": reverse("api-components", request=request),
            "admin": reverse("admin:index", request=request),
        }
    )


@api_view(["GET"])
def components(request: Request) -> Response:
    """The strategies, risk rules and sizers there are, with their parameters."""
    found: Any = msgspec.to_builtins(registry.describe())
    return Response(found)


def _version() -> str:
    try:
        return version("ginkgo-live")
    except PackageNotFoundError:
        return "unknown"


urlpatterns = [path("", root, name="api-root"), path("components", components, name="api-components")]
