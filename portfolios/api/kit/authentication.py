"""Who is asking: a program by its API key, a person by a token of `/api/token/` or by the admin's session."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from django.contrib.auth.models import User
from rest_framework.authentication import BaseAuthentication
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.request import Request
from rest_framework_simplejwt.authentication import JWTAuthentication

from portfolios import api_keys
from portfolios.models import ApiKey

_CHALLENGE = 'Bearer realm="ginkgo"'
_NOTED_EVERY = timedelta(minutes=1)


class KeyAuthentication(BaseAuthentication):
    """`X-API-Key: gk_…`, or `Authorization: Bearer gk_…` for clients that know nothing else (Prometheus)."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        given = _key_in(request)
        if given is None:
            return None
        key, now = api_keys.recognise(given), datetime.now(UTC)
        if key is None:
            raise AuthenticationFailed("this is no API key of this platform")
        state = key.state(now)
        if state != "active":
            raise AuthenticationFailed(f"API key {key.prefix} is {state}: make another with 'ginkgo apikey create'")
        if not key.owner.is_active:
            raise AuthenticationFailed("the owner of this API key is no longer active")
        if key.last_used_at is None or now - key.last_used_at >= _NOTED_EVERY:
            ApiKey.objects.filter(prefix=key.prefix).update(last_used_at=now)
        return key.owner, key

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE


class TokenAuthentication(JWTAuthentication):
    """`Authorization: Bearer` with an access token."""

    def get_raw_token(self, header: bytes) -> bytes | None:
        parts = header.split()
        if len(parts) == 2 and parts[1].startswith(api_keys.MARK.encode()):
            return None
        raw: bytes | None = super().get_raw_token(header)
        return raw

    def authenticate_header(self, request: Request) -> str:
        return _CHALLENGE


def via(request: Request) -> str:
    """How the caller was recognised, for the audit."""
    if isinstance(request.auth, ApiKey):
        return f"key {request.auth.prefix}"
    return "session" if request.auth is None else "token"


def _key_in(request: Request) -> str | None:
    given = request.META.get("HTTP_X_API_KEY")
    if given is not None:
        return str(given)
    kind, _, rest = str(request.META.get("HTTP_AUTHORIZATION", "")).partition(" ")
    rest = rest.strip()
    return rest if kind.lower() == "bearer" and rest.startswith(api_keys.MARK) else None
