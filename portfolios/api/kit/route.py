"""The base of every view, and the decorator that makes a method a route: documented, checked, done once, audited.

A route's method gets its query and its body checked, as `query` and `body`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any

from django.db import transaction
from drf_spectacular.utils import OpenApiExample, OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework.exceptions import MethodNotAllowed
from rest_framework.permissions import AllowAny
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from portfolios.api.kit import checking, idempotency, versions
from portfolios.api.kit.errors import ERROR
from portfolios.api.kit.formats import JsonRenderer
from portfolios.api.kit.shapes import Shape
from portfolios.api_keys import READ

Method = Callable[..., Response]
_ALWAYS = {
    401: "Nobody is known by these credentials, or they are missing.",
    429: "Too many requests of this scope.",
    503: "A server that this takes does not answer.",
}
_DEFAULT = "Any other error, in the same shape."


class ApiView(APIView):
    """A view whose methods are made by `route`."""

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # First of all: a method that is not there needs nobody's rights.
        if getattr(self, str(request.method).lower(), None) is None:
            raise MethodNotAllowed(str(request.method))
        super().initial(request, *args, **kwargs)

    def scope_of(self, method: str) -> str:
        return str(getattr(getattr(self, method.lower(), None), "scope", READ))

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        """An error is JSON also where the answer would have been something else."""
        final: Response = super().finalize_response(request, response, *args, **kwargs)
        if getattr(final, "exception", False):
            final.accepted_renderer, final.accepted_media_type = JsonRenderer(), JsonRenderer.media_type
        return final

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        return Response(status=204, headers={"Allow": ", ".join(self.allowed_methods)})

    @property
    def allowed_methods(self) -> list[str]:
        names: list[str] = super().allowed_methods
        return [name for name in names if name != "OPTIONS"]


class OpenView(ApiView):
    """A view for everybody, known or not."""

    permission_classes = [AllowAny]
    authentication_classes: list[type] = []


def route(
    operation: str,
    summary: str,
    *,
    tag: str,
    answer: Shape | None = None,
    status: int = 200,
    query: Shape | None = None,
    body: Shape | None = None,
    scope: str = READ,
    writes: bool = False,
    atomic: bool = True,
    versioned: bool = False,
    open_to_all: bool = False,
    errors: Mapping[int, str] | None = None,
    also: Mapping[int, Shape] | None = None,
    example: Mapping[str, Any] | None = None,
    answered: Mapping[str, Any] | None = None,
    media_type: str = "application/json",
) -> Callable[[Method], Method]:
    """`operation`: its name in a generated client. `scope`: what a caller needs.

    `writes`: it must write an audit entry; a POST of them honours Idempotency-Key; `atomic`: all of it in one
    transaction. `versioned`: it honours If-Match. `errors`: further ones, by status; `also`: answers that are none.
    `example`, `answered`: of its body and its answer.
    """

    def decorate(method: Method) -> Method:
        @functools.wraps(method)
        def run(view: ApiView, request: Request, *args: Any, **kwargs: Any) -> Response:
            asked = checking.query(request.query_params, query or _NO_QUERY)
            if query is not None:
                kwargs["query"] = asked
            if body is not None:
                kwargs["body"] = _body(request, body)
            if not writes:
                return method(view, request, *args, **kwargs)

            def work() -> Response:
                response = method(view, request, *args, **kwargs)
                if not getattr(request, "audited", False):
                    raise RuntimeError(f"{operation} has changed something and the audit does not know")
                return response

            with transaction.atomic() if atomic else nullcontext():
                return idempotency.once(request, kwargs.get("body"), work, atomic)

        run.scope = scope  # type: ignore[attr-defined]
        described: Method = extend_schema(
            operation_id=operation,
            summary=summary,
            description=_described(method, scope, open_to_all),
            tags=[tag],
            parameters=_parameters(method, query, versioned, idempotent=writes),
            request={"application/json": body} if body is not None else None,
            responses={
                **_responses(
                    answer,
                    status,
                    media_type,
                    {**_missing(method), **(errors or {})},
                    body is not None,
                    writes,
                    open_to_all,
                ),
                **{(code, "application/json"): shape for code, shape in (also or {}).items()},
            },
            examples=_examples(example, answered, status),
            auth=[] if open_to_all else None,
        )(run)
        return described

    return decorate


_NO_QUERY: Shape = {"type": "object", "properties": {}, "additionalProperties": False}


def _body(request: Request, shape: Shape) -> Any:
    """The body, checked. None at all counts as an empty object where nothing is required."""
    length = request.META.get("CONTENT_LENGTH") or "0"
    given: Any = {}
    if length != "0" or request.META.get("HTTP_TRANSFER_ENCODING"):
        given = request.data
    checking.check(given, shape)
    return given


def _missing(method: Method) -> dict[int, str]:
    """A route to one thing may not find it."""
    names = set(inspect.signature(method).parameters) - {"self", "request", "query", "body"}
    return {404: "There is no such thing, or it is somebody else's."} if names else {}


def _described(method: Method, scope: str, open_to_all: bool) -> str:
    words = " ".join((method.__doc__ or "").split())
    return words if open_to_all else f"{words}\n\nScope: `{scope}`.".strip()


def _parameters(method: Method, query: Shape | None, versioned: bool, idempotent: bool) -> list[OpenApiParameter]:
    found = []
    for name, shape in (query or _NO_QUERY)["properties"].items():
        schema = {key: value for key, value in shape.items() if key != "description"}
        required = name in (query or {}).get("required", ())
        found.append(
            OpenApiParameter(name, schema, "query", required=required, description=shape.get("description", ""))
        )
    if versioned:
        words = "The ETag of the version that the change is meant for; another one now is a 409."
        found.append(
            OpenApiParameter("If-Match", {"type": "string", "pattern": versions.FORM}, "header", description=words)
        )
    if idempotent and method.__name__ == "post":
        words = "Any text of the caller's: a repeated request gets the first one's answer instead of being done again."
        form = {"type": "string", "pattern": idempotency.FORM}
        found.append(OpenApiParameter(idempotency.HEADER, form, "header", description=words))
    return found


def _responses(
    answer: Shape | None,
    status: int,
    media_type: str,
    errors: Mapping[int, str],
    has_body: bool,
    writes: bool,
    open_to_all: bool,
) -> dict[Any, Any]:
    told: dict[int, str] = {**_ALWAYS, 400: "A parameter, the query or the body is wrong."}
    if has_body:
        told |= {413: "The body is too large.", 415: "The body is not application/json."}
    if writes:
        told |= {403: "The caller lacks the scope.", 409: "It does not fit what is."}
    if open_to_all:
        del told[401]
    good: Any = OpenApiResponse(description="Done; there is nothing to say.")
    found: dict[Any, Any] = {}
    if answer is None:
        found[status] = good
    else:
        found[status, media_type] = answer
    for code, words in sorted({**told, **errors}.items()):
        found[code, "application/json"] = OpenApiResponse(ERROR, words)
    found["default", "application/json"] = OpenApiResponse(ERROR, _DEFAULT)
    return found


def _examples(
    example: Mapping[str, Any] | None, answered: Mapping[str, Any] | None, status: int
) -> list[OpenApiExample]:
    found = []
    if example is not None:
        found.append(OpenApiExample("request", value=dict(example), request_only=True))
    if answered is not None:
        found.append(OpenApiExample("answer", value=dict(answered), response_only=True, status_codes=[str(status)]))
    return found
