"""/api/portfolio/{id}/history: what it was worth over time."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from rest_framework.request import Request
from rest_framework.response import Response

from market.history.errors import HistoryAway
from market.history.reader import Reader
from portfolios import reading as figures
from portfolios.api import reading
from portfolios.api.kit.moments import MOMENT_IN, moment
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import COUNT, MOMENT, NUMBER, answer, choices, described, many, maybe, named
from portfolios.api.shapes import ID

log = logging.getLogger(__name__)

T = TypeVar("T")

_PATIENCE = 5.0
POINT = named(
    "EquityPoint",
    answer(
        timestamp=described(MOMENT, "Of the events it had seen."),
        cash=NUMBER,
        frozen=described(maybe(NUMBER), "Cash that open orders hold back."),
        total_value=NUMBER,
        position_count=COUNT,
    ),
)
HISTORY = named(
    "History",
    answer(
        portfolio_id=ID,
        source=choices(
            "HistorySource", ["history", "checkpoint"], "Checkpoint: there is no history, only what it has now."
        ),
        points=many(POINT),
    ),
)
QUERY = {
    "type": "object",
    "properties": {
        "start_time": described(MOMENT_IN, "Of this moment or later."),
        "end_time": described(MOMENT_IN, "Before this moment."),
        "points": {
            "type": "integer", "minimum": 2, "maximum": 10_000, "default": 1000,
            "description": "At most so many, spread evenly.",
        },
    },
    "additionalProperties": False,
}  # fmt: skip


class History(ApiView):
    @route("portfolio_history", "What it was worth over time", tag="portfolios", query=QUERY, answer=HISTORY)
    def get(self, request: Request, portfolio_id: str, query: Mapping[str, Any]) -> Response:
        """The first and the last point of the time asked for are always among them."""
        found = reading.one(request, portfolio_id)
        start, end = (moment(query[name]) if name in query else None for name in ("start_time", "end_time"))
        try:
            with Reader(timeout=_PATIENCE) as reader:
                points = thinned(reader.equity(portfolio_id, start, end), query["points"])
        except HistoryAway as error:
            log.info("A portfolio's history is its last checkpoint: %s", error)
            return Response({"portfolio_id": portfolio_id, "source": "checkpoint", "points": _now(found, start, end)})
        return Response({"portfolio_id": portfolio_id, "source": "history", "points": [p._asdict() for p in points]})


def thinned(points: Iterable[T], most: int) -> list[T]:
    """At most `most` (>= 2) of them, evenly spread by their number, the first and the last included.

    Holds at most twice as many at a time, however many there are.
    """
    kept: list[T] = []
    step, last, number = 1, None, -1
    for number, point in enumerate(points):
        last = point
        if number % step == 0:
            kept.append(point)
            if len(kept) > 2 * most:
                kept, step = kept[::2], step * 2
    if last is None or number < 0:
        return []
    if number % step:
        kept.append(last)
    if len(kept) <= most:
        return kept
    return [kept[round(i * (len(kept) - 1) / (most - 1))] for i in range(most)]


def _now(portfolio: Any, start: Any, end: Any) -> list[dict[str, Any]]:
    known = figures.figures_of([portfolio]).get(portfolio.id)
    if known is None or known["updated_at"] is None:
        return []
    at = known["updated_at"]
    if (start is not None and at < start) or (end is not None and at >= end):
        return []
    return [
        {
            "timestamp": at,
            "cash": known["cash"],
            "frozen": None,
            "total_value": known["total_value"],
            "position_count": known["position_count"],
        }
    ]
