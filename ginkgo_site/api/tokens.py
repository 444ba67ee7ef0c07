"""/api/token/ and /api/token/refresh/: a name and a password for a token that lasts minutes, and a new one for it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework_simplejwt.exceptions import InvalidToken, TokenError
from rest_framework_simplejwt.serializers import TokenObtainPairSerializer, TokenRefreshSerializer

from portfolios.api.kit.errors import INVALID_CREDENTIALS, ApiError
from portfolios.api.kit.route import OpenView, route
from portfolios.api.kit.shapes import answer, body, named, text
from portfolios.api.kit.throttles import LOGIN

_REFUSED = {401: "Nobody is known by these."}
CREDENTIALS = named(
    "Credentials",
    body(
        ["username", "password"], username=text(minLength=1, maxLength=150), password=text(minLength=1, maxLength=500)
    ),
)
PAIR = named("TokenPair", answer(access=text("For `Authorization: Bearer`."), refresh=text("For a new one.")))
REFRESH = named("TokenRefresh", body(["refresh"], refresh=text(minLength=1, maxLength=5000)))
ACCESS = named("AccessToken", answer(access=text()))


class Token(OpenView):
    @route(
        "token_create", "A token for a name and a password", tag="tokens", scope=LOGIN, open_to_all=True,
        body=CREDENTIALS, answer=PAIR, errors=_REFUSED,
    )  # fmt: skip
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """For people. A program takes an API key (`ginkgo apikey create`)."""
        checked = TokenObtainPairSerializer(data=body, context={"request": request})
        # What is no password (a NUL, spaces) is a wrong one.
        if not checked.is_valid():
            raise ApiError(INVALID_CREDENTIALS, "there is no active user of this name and password")
        return Response({name: checked.validated_data[name] for name in ("access", "refresh")})


class Refresh(OpenView):
    @route(
        "token_refresh", "Another token for a refresh token", tag="tokens", scope=LOGIN, open_to_all=True,
        body=REFRESH, answer=ACCESS, errors=_REFUSED,
    )  # fmt: skip
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """While the user is active and has the password of then."""
        checked = TokenRefreshSerializer(data=body)
        try:
            valid = checked.is_valid()
        except (TokenError, InvalidToken):
            valid = False
        if not valid:
            raise ApiError(INVALID_CREDENTIALS, "this refresh token is not valid any more: ask for a new one")
        return Response({"access": checked.validated_data["access"]})
