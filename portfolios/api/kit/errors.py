"""The one shape of every error, and which error is told how: `{"error": true, "code", "message", "details"}`."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import redis
from django.core.exceptions import PermissionDenied, RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import Http404
from rest_framework import exceptions
from rest_framework.response import Response

from portfolios import errors as refusals
from portfolios.api.kit.shapes import answer, choices, named, text
from portfolios.kernel.config import Fault
from portfolios.livestate import RedisUnavailable

log = logging.getLogger(__name__)

INVALID_PARAMETER = "INVALID_PARAMETER"
MALFORMED_REQUEST = "MALFORMED_REQUEST"
NOT_AUTHENTICATED = "NOT_AUTHENTICATED"
INVALID_CREDENTIALS = "INVALID_CREDENTIALS"
PERMISSION_DENIED = "PERMISSION_DENIED"
NOT_FOUND = "NOT_FOUND"
METHOD_NOT_ALLOWED = "METHOD_NOT_ALLOWED"
NOT_ACCEPTABLE = "NOT_ACCEPTABLE"
CONFLICT = "CONFLICT"
VERSION_CONFLICT = "VERSION_CONFLICT"
CONFIRMATION_REQUIRED = "CONFIRMATION_REQUIRED"
REQUEST_IN_PROGRESS = "REQUEST_IN_PROGRESS"
IDEMPOTENCY_KEY_REUSED = "IDEMPOTENCY_KEY_REUSED"
PAYLOAD_TOO_LARGE = "PAYLOAD_TOO_LARGE"
UNSUPPORTED_MEDIA_TYPE = "UNSUPPORTED_MEDIA_TYPE"
TOO_MANY_REQUESTS = "TOO_MANY_REQUESTS"
UNAVAILABLE = "UNAVAILABLE"
INTERNAL_ERROR = "INTERNAL_ERROR"

CODES = {
    INVALID_PARAMETER: 400,
    MALFORMED_REQUEST: 400,
    NOT_AUTHENTICATED: 401,
    INVALID_CREDENTIALS: 401,
    PERMISSION_DENIED: 403,
    NOT_FOUND: 404,
    METHOD_NOT_ALLOWED: 405,
    NOT_ACCEPTABLE: 406,
    CONFLICT: 409,
    VERSION_CONFLICT: 409,
    CONFIRMATION_REQUIRED: 409,
    REQUEST_IN_PROGRESS: 409,
    IDEMPOTENCY_KEY_REUSED: 409,
    PAYLOAD_TOO_LARGE: 413,
    UNSUPPORTED_MEDIA_TYPE: 415,
    TOO_MANY_REQUESTS: 429,
    INTERNAL_ERROR: 500,
    UNAVAILABLE: 503,
}

ERROR = named(
    "Error",
    answer(
        error={"type": "boolean", "const": True},
        code=choices("ErrorCode", list(CODES)),
        message=text("One line for a person: what is wrong and what can be done."),
        details={
            "type": "object",
            "description": "What a program may want to know; `faults` where a parameter is wrong.",
            "properties": {
                "faults": {
                    "type": "array",
                    "items": named(
                        "Fault", answer(path=text("Like `config.strategy.params.short_period`."), message=text())
                    ),
                }
            },
            "additionalProperties": True,
        },
    ),
)


class ApiError(exceptions.APIException):
    """An error with one of CODES, to be raised by a route."""

    def __init__(
        self,
        code: str,
        message: str,
        details: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message, code)
        self.code, self.message, self.details = code, message, dict(details or {})
        self.status_code, self.headers = CODES[code], dict(headers or {})


def document(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    return {"error": True, "code": code, "message": message, "details": dict(details or {})}


def handler(exception: Exception, context: Mapping[str, Any]) -> Response:
    """Django REST framework's exception handler: it knows an answer to everything."""
    error = told(exception)
    if error.status_code == 500:
        error.details["incident"] = incident = uuid4().hex[:12]
        request = context.get("request")
        where = f"{request.method} {request.path}" if request is not None else "a request"
        log.error("Incident %s: %s failed", incident, where, exc_info=exception)
    headers = error.headers
    if (challenge := getattr(exception, "auth_header", None)) and error.status_code == 401:
        headers = {**headers, "WWW-Authenticate": challenge}
    response = Response(document(error.code, error.message, error.details), error.status_code, headers=headers)
    response.exception = True
    return response


def told(exception: Exception) -> ApiError:
    """Any exception as the error a caller is told."""
    if isinstance(exception, ApiError):
        return exception
    if isinstance(exception, refusals.PortfolioError):
        return _refusal(exception)
    if isinstance(exception, Http404 | PermissionDenied | exceptions.APIException):
        return _of_the_framework(exception)
    if isinstance(exception, RequestDataTooBig):
        return ApiError(PAYLOAD_TOO_LARGE, "the body is too large")
    if isinstance(exception, OperationalError | InterfaceError):
        return ApiError(
            UNAVAILABLE, "the database does not answer: try again in a moment", headers={"Retry-After": "5"}
        )
    if isinstance(exception, redis.RedisError | RedisUnavailable):
        return ApiError(UNAVAILABLE, "Redis does not answer: try again in a moment", headers={"Retry-After": "5"})
    return ApiError(INTERNAL_ERROR, "something went wrong here; the log has it under the incident's number")


def _refusal(exception: refusals.PortfolioError) -> ApiError:
    if isinstance(exception, refusals.InvalidConfig):
        return invalid(exception.faults)
    if isinstance(exception, refusals.NotFound):
        return ApiError(NOT_FOUND, str(exception))
    if isinstance(exception, refusals.Unconfirmed):
        return ApiError(CONFIRMATION_REQUIRED, str(exception).replace("(--yes)", '("confirm": true)'))
    return ApiError(CONFLICT, str(exception))


def invalid(faults: list[Fault]) -> ApiError:
    listed = [{"path": fault.path, "message": fault.message} for fault in faults]
    message = str(faults[0]) if len(faults) == 1 else f"{len(faults)} faults, the first is {faults[0]}"
    return ApiError(INVALID_PARAMETER, message, {"faults": listed})


def _of_the_framework(exception: Exception) -> ApiError:
    if isinstance(exception, Http404):
        return ApiError(NOT_FOUND, "there is nothing here")
    if isinstance(exception, PermissionDenied | exceptions.PermissionDenied):
        return ApiError(PERMISSION_DENIED, str(exception) or "you may not do this")
    if isinstance(exception, exceptions.NotAuthenticated):
        return ApiError(NOT_AUTHENTICATED, "say who you are: a token of /api/token/, or an API key")
    if isinstance(exception, exceptions.AuthenticationFailed):
        return ApiError(INVALID_CREDENTIALS, _words(exception.detail))
    if isinstance(exception, exceptions.MethodNotAllowed):
        return ApiError(METHOD_NOT_ALLOWED, _words(exception.detail))
    if isinstance(exception, exceptions.NotAcceptable):
        return ApiError(NOT_ACCEPTABLE, "answers are application/json")
    if isinstance(exception, exceptions.UnsupportedMediaType):
        return ApiError(UNSUPPORTED_MEDIA_TYPE, "the body must be application/json")
    if isinstance(exception, exceptions.Throttled):
        wait = max(1, int(exception.wait or 1))
        message = f"too many requests: try again in {wait} s"
        return ApiError(TOO_MANY_REQUESTS, message, {"retry_after": wait}, {"Retry-After": str(wait)})
    if isinstance(exception, exceptions.ParseError):
        return ApiError(MALFORMED_REQUEST, _words(exception.detail))
    if isinstance(exception, exceptions.ValidationError):
        return invalid([Fault("body", _words(exception.detail))])
    return ApiError(INTERNAL_ERROR, "something went wrong here; the log has it under the incident's number")


def _words(detail: Any) -> str:
    if isinstance(detail, Mapping):
        return _words(detail.get("detail") or next(iter(detail.values()), ""))
    if isinstance(detail, list | tuple):
        return _words(detail[0]) if detail else ""
    return str(detail)
