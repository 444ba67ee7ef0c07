"""/api/alerts: what has been alerted, about one's own portfolios; for staff, everything."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from alerts import queries
from alerts.api.shapes import SEVERITY as _SEVERITY
from alerts.errors import StoreAway
from alerts.store import AlertStore
from alerts.visibility import portfolios_of
from portfolios.api.kit.errors import UNAVAILABLE, ApiError
from portfolios.api.kit.moments import MOMENT_IN, moment
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import ANYTHING, BOOLEAN, COUNT, MOMENT, answer, described, many, named, text

_alert = answer(
    alert_id=text(),
    alert_type=text("Like queue_full or node_offline."),
    severity=_SEVERITY,
    source=text("The node or process that raised it."),
    message=text(),
    details=ANYTHING,
    timestamp=MOMENT,
)
ALERT = named(
    "Alert",
    {
        **_alert,
        "properties": {
            **_alert["properties"],
            "episode": text("What it belongs to: alerts of one kind without a pause of ten minutes."),
            "count": described(COUNT, "Alerts of its episode."),
            "first_seen": MOMENT,
            "last_seen": MOMENT,
        },
    },
)
QUERY = {
    "type": "object",
    "properties": {
        "start_time": described(MOMENT_IN, "Of this moment or later."),
        "end_time": described(MOMENT_IN, "Of this moment or earlier."),
        "severity": _SEVERITY,
        "source": text(maxLength=200),
        "alert_type": text(maxLength=100),
        "each": {**BOOLEAN, "default": False, "description": "Every single one, not the newest of each episode."},
        "limit": {"type": "integer", "minimum": 1, "maximum": queries.MOST, "default": queries.DEFAULT_LIMIT},
        "offset": {"type": "integer", "minimum": 0, "maximum": 1_000_000, "default": 0},
    },
    "additionalProperties": False,
}
_STORE = AlertStore()


class Alerts(ApiView):
    @route(
        "alert_list",
        "What has been alerted",
        tag="alerts",
        query=QUERY,
        answer=named(
            "Alerts", answer(alerts=many(ALERT), total_count=described(COUNT, "In all, not only on this page."))
        ),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """The newest first, of the last seven days: of what keeps coming, one with its count."""
        times: dict[str, Any] = {to: moment(query[name]) for name, to in _TIMES.items() if name in query}
        same: dict[str, Any] = {name: query[name] for name in ("severity", "source", "alert_type") if name in query}
        pages: dict[str, Any] = {name: query[name] for name in ("limit", "offset", "each")}
        asked = queries.Question(portfolios=portfolios_of(request.user), **times, **same, **pages)
        try:
            found = queries.ask(_STORE, asked)
        except StoreAway as error:
            raise ApiError(UNAVAILABLE, str(error)) from None
        return Response(found.as_dict())


_TIMES = {"start_time": "start", "end_time": "end"}
