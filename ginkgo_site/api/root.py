"""/api/: where everything is; and the answer for where nothing is."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import Resolver404, resolve
from django.views import defaults
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from portfolios.api.kit.errors import INTERNAL_ERROR, INVALID_PARAMETER, NOT_FOUND, ApiError, document
from portfolios.api.kit.formats import encode
from portfolios.api.kit.route import OpenView, route
from portfolios.api.kit.shapes import answer, named, text

_LINKS = {
    "admin": "admin:index",
    "alerts": "api-alerts",
    "commands": "api-commands",
    "components": "api-components",
    "documentation": "api-docs",
    "health": "api-health",
    "metrics": "metrics",
    "nodes": "api-nodes",
    "plan": "api-schedule-plan",
    "portfolios": "api-portfolios",
    "schema": "api-schema",
    "token": "api-token",
}


class Root(OpenView):
    @route(
        "root",
        "Where everything is",
        tag="platform",
        open_to_all=True,
        answer=named("Root", answer(name=text(), version=text(), **{link: text(format="uri") for link in _LINKS})),
    )
    def get(self, request: Request) -> Response:
        """The addresses of the API's parts."""
        links = {name: reverse(view, request=request) for name, view in _LINKS.items()}
        return Response({"name": "Ginkgo Live", "version": _version(), **links})


class Nothing(OpenView):
    """Whatever the API does not have, in the one shape of errors and whatever the method."""

    schema = None

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        other = request.path[:-1] if request.path.endswith("/") else f"{request.path}/"
        raise ApiError(NOT_FOUND, f"there is nothing at {request.path[:200]}{_hint(other)}")


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    if request.path.startswith("/api/"):
        return _plain(404, NOT_FOUND, "there is nothing here")
    return defaults.page_not_found(request, exception)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """What Django refuses before a view is asked, an unknown host for instance."""
    if request.path.startswith("/api/"):
        return _plain(400, INVALID_PARAMETER, "the request cannot be answered: is its host one of web.allowed_hosts?")
    return defaults.bad_request(request, exception)


def server_error(request: HttpRequest) -> HttpResponse:
    if request.path.startswith("/api/"):
        return _plain(500, INTERNAL_ERROR, "something went wrong here; the log has it")
    return defaults.server_error(request)


def _plain(status: int, code: str, message: str) -> HttpResponse:
    return HttpResponse(encode(document(code, message)), status=status, content_type="application/json")


def _hint(path: str) -> str:
    try:
        found = resolve(path)
    except Resolver404:
        return ": see /api/"
    return f": did you mean {path[:200]}?" if found.url_name != "api-nothing" else ": see /api/"


def _version() -> str:
    try:
        return version("ginkgo-live")
    except PackageNotFoundError:
        return "unknown"
