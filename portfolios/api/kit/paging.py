"""Lists in pages: `limit` and `offset` in, `{count, next, previous, results}` out, counted in the query that reads."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from django.db.models import QuerySet
from rest_framework.request import Request
from rest_framework.utils.urls import remove_query_param, replace_query_param

from portfolios.api.kit.shapes import COUNT, LARGEST, Shape, answer, many, maybe, one_of, text
from portfolios.counting import RowCount

M = TypeVar("M")

LIMIT = 50
LARGEST_PAGE = 1000


def page_query(ordering: Sequence[str] = (), limit: int = LIMIT, **filters: Shape) -> Shape:
    """The shape of a list's query. `ordering`: the fields by which it can be sorted; it is by the first if not told."""
    fields: dict[str, Shape] = {
        **filters,
        "limit": {
            "type": "integer", "minimum": 1, "maximum": LARGEST_PAGE, "default": limit, "description": "Rows a page.",
        },
        "offset": {"type": "integer", "minimum": 0, "maximum": LARGEST, "default": 0, "description": "Rows left out."},
    }  # fmt: skip
    if ordering:
        names = [name.lstrip("-") for name in ordering]
        both = [*dict.fromkeys([ordering[0], *(f"{sign}{name}" for name in names for sign in ("", "-"))])]
        fields["ordering"] = {**one_of(both, "Sorted by; a minus: downwards."), "default": both[0]}
    return {"type": "object", "properties": fields, "additionalProperties": False}


def page_of(item: Shape) -> Shape:
    """The shape of a page."""
    url = maybe(text("The address of the page, null where there is none.", format="uri"))
    return answer(count=COUNT, next=url, previous=url, results=many(item))


def rows(chosen: QuerySet[Any, M], query: Mapping[str, Any], tie: str = "pk") -> tuple[list[M], int]:
    """The page's rows and how many there are in all: one query, a second one only beyond the end.

    `chosen` may be of dictionaries (`values()`), which are read in half the time.
    """
    order = query.get("ordering")
    if order:
        chosen = chosen.order_by(order, f"-{tie}" if order.startswith("-") else tie)
    limit, offset = query["limit"], query["offset"]
    counted: QuerySet[Any] = chosen.annotate(rows_in_all=RowCount(chosen.order_by().values("pk")))
    found: list[Any] = list(counted[offset : offset + limit])
    if found:
        first = found[0]
        return found, first["rows_in_all"] if isinstance(first, dict) else first.rows_in_all
    return found, chosen.count() if offset else 0


def document(
    request: Request,
    query: Mapping[str, Any],
    count: int,
    found: Sequence[Any],
    shown: Callable[[Any], Any] | None = None,
) -> dict[str, Any]:
    limit, offset = query["limit"], query["offset"]
    here = request.build_absolute_uri()
    following = replace_query_param(here, "offset", offset + limit) if offset + limit < count else None
    before = None
    if offset > 0:
        earlier = max(0, offset - limit)
        before = replace_query_param(here, "offset", earlier) if earlier else remove_query_param(here, "offset")
    return {
        "count": count,
        "next": following,
        "previous": before,
        "results": [shown(one) for one in found] if shown is not None else list(found),
    }
