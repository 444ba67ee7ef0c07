"""/api/engine/live/start, stop, status: the big red button, and how the engine does."""

from __future__ import annotations

from datetime import UTC, datetime

from rest_framework.request import Request
from rest_framework.response import Response

from market import switch
from market.engine import status
from portfolios.api.kit import audit
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import COUNT, MOMENT, NUMBER, answer, choices, described, maybe, named, text
from portfolios.api_keys import OPERATE

TAG = "engine"
_SWITCH = choices("SwitchPosition", ["on", "off"])
_known = answer(
    engine_status=choices("EngineState", ["running", "stopped", "down", "unknown"]),
    switch=_SWITCH,
    switched_by=text(),
    running_portfolios=COUNT,
    orders_today=described(COUNT, "Since midnight UTC."),
    open_orders=COUNT,
    unpublished=described(COUNT, "Answers that Kafka has not taken yet."),
    fenced=described(COUNT, "Orders of stale owners: recorded, never sent."),
)
STATUS = named(
    "EngineStatus",
    {
        **_known,
        "properties": {
            **_known["properties"],
            "broker": maybe(text()),
            "uptime": described(NUMBER, "Seconds."),
            "last_order_at": maybe(text()),
            "partitions": text(),
            "waiting_for": text("What it cannot do without; empty: nothing."),
            "kafka": text("up, or away: whether Kafka answers it."),
            "straight": described(COUNT, "Orders and cancels taken in straight from nodes, since it began."),
            "host": text(),
            "pid": COUNT,
            "updated_at": maybe(text("When an engine last spoke.")),
            "note": text(),
        },
    },
)
SWITCHED = named(
    "EngineSwitched",
    answer(
        success={"type": "boolean", "const": True},
        switch=_SWITCH,
        changed_by=text(),
        changed_at=maybe(MOMENT),
        message=text(),
    ),
)


class Status(ApiView):
    @route("engine_status", "How the engine does", tag=TAG, answer=STATUS)
    def get(self, request: Request) -> Response:
        """`stopped`: the switch is off. `down`: no engine has spoken for five seconds. `unknown`: Redis is away."""
        return Response(status.read(datetime.now(UTC)))


class Start(ApiView):
    @route("engine_start", "Let engines send orders", tag=TAG, scope=OPERATE, writes=True, answer=SWITCHED)
    def post(self, request: Request) -> Response:
        """Every engine follows within a fraction of a second."""
        return _turn(request, True, "engines send orders")


class Stop(ApiView):
    @route("engine_stop", "Stop all trading", tag=TAG, scope=OPERATE, writes=True, answer=SWITCHED)
    def post(self, request: Request) -> Response:
        """The big red button: working orders are cancelled, new ones are rejected (`engine_stopped`), within a second
        and across restarts, until it is started again."""
        return _turn(request, False, "engines stop trading: working orders are cancelled, new ones rejected")


def _turn(request: Request, on: bool, message: str) -> Response:
    before = switch.read()
    after = switch.press(on, request.user.get_username())
    changes = {} if before.on == on else {"switch": (_word(before.on), _word(on))}
    audit.record(request, "engine.start" if on else "engine.stop", "engine", changes)
    return Response(
        {
            "success": True,
            "switch": _word(after.on),
            "changed_by": after.changed_by,
            "changed_at": after.changed_at,
            "message": message,
        }
    )


def _word(on: bool) -> str:
    return "on" if on else "off"
