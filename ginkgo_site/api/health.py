"""/api/health and /metrics."""

from __future__ import annotations

import threading
import time
from typing import Any

from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response

from ginkgo_site import metrics, vitals
from portfolios.api.kit.formats import JsonRenderer
from portfolios.api.kit.route import ApiView, OpenView, route
from portfolios.api.kit.shapes import (
    BOOLEAN,
    COUNT,
    MOMENT,
    NUMBER,
    answer,
    choices,
    described,
    many,
    maybe,
    named,
    text,
)

_FRESH = 1.0
_SERVER = answer(status=choices("ServerStatus", ["up", "down"]), required=BOOLEAN)
HEALTH = named(
    "Health",
    answer(
        healthy=BOOLEAN,
        faults=many(text(), description="Why it is not healthy."),
        servers=answer(**dict.fromkeys(("database", "redis", "kafka", "mongodb", "history"), _SERVER)),
        scheduler=answer(status=text("running, stopped or unknown."), last_check=maybe(text())),
        engine=answer(status=text("running, stopped, down or unknown."), switch=text(), updated_at=maybe(text())),
        feed=answer(status=text(), event_time=maybe(text())),
        nodes=many(
            answer(
                id=text(),
                state=text("unhealthy: one of its threads has died, or it cannot reach a server."),
                health=text("What keeps it from trading, or nothing."),
                enabled=BOOLEAN,
                threads=maybe(COUNT),
                heartbeat_age=maybe(described(NUMBER, "Seconds.")),
            )
        ),
        at=MOMENT,
    ),
)


class Health(OpenView):
    @route(
        "health", "Whether the platform lives", tag="platform", open_to_all=True, answer=HEALTH,
        also={503: HEALTH},
    )  # fmt: skip
    def get(self, request: Request) -> Response:
        """Each server, and each process with its threads as far as Redis and MySQL know: 200, or 503 with `faults`."""
        found = _LATEST.look()
        return Response(found, 200 if found["healthy"] else 503)


class TextRenderer(BaseRenderer):
    media_type = "text/plain"
    format = "txt"
    charset = "utf-8"

    def render(self, data: Any, accepted_media_type: str | None = None, renderer_context: Any = None) -> bytes:
        return b"" if data is None else bytes(data)


class Metrics(ApiView):
    renderer_classes = [TextRenderer, JsonRenderer]

    @route(
        "metrics",
        "For Prometheus",
        tag="platform",
        media_type="text/plain",
        answer=text("The exposition format, 0.0.4."),
    )
    def get(self, request: Request) -> Response:
        """Give Prometheus an API key with the scope `read` as its bearer token."""
        response = Response(metrics.exposition())
        response.accepted_renderer, response.accepted_media_type = TextRenderer(), "text/plain"
        return response


class _Latest:
    """One look serves everybody who asks within a second: anybody may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at = float("-inf")
        self._found: dict[str, Any] = {}

    def look(self) -> dict[str, Any]:
        with self._lock:
            if time.monotonic() - self._at >= _FRESH:
                self._found, self._at = vitals.look(), time.monotonic()
            return self._found


_LATEST = _Latest()
