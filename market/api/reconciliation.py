"""/api/reconciliation: where books differ that should agree."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q
from rest_framework.request import Request
from rest_framework.response import Response

from market.models import Mismatch
from market.models.reconciliation import MismatchKind, MismatchScope, MismatchState
from market.reconciliation_report import facts
from portfolios.api.kit import paging
from portfolios.api.kit.moments import MOMENT_IN, moment
from portfolios.api.kit.rights import sees_all
from portfolios.api.kit.route import ApiView, route
from portfolios.api.kit.shapes import COUNT, MOMENT, NUMBER, answer, choices, described, maybe, named, text
from portfolios.api.shapes import ID

TAG = "engine"
STATE = choices(
    "MismatchState", [MismatchState.OPEN, MismatchState.RESOLVED], "Open: two successive comparisons have found it."
)
SCOPE = choices(
    "MismatchScope",
    MismatchScope.values,
    "Whose books do not agree with fills and ledger: the portfolio's own, or the broker's of the account.",
)
KIND = choices("MismatchKind", MismatchKind.values)
MISMATCH = named(
    "Mismatch",
    answer(
        id=COUNT,
        scope=SCOPE,
        kind=KIND,
        state=STATE,
        account_id=ID,
        account=text("Its name."),
        portfolio_id=maybe(ID),
        portfolio=maybe(text("Its name; null where the account differs.")),
        code=text("Empty for cash."),
        expected=described(NUMBER, "A volume or an amount: what fills and ledger say."),
        actual=described(NUMBER, "What the portfolio's books or the broker's say."),
        difference=described(NUMBER, "Actual less expected."),
        found_at=MOMENT,
        seen_at=described(MOMENT, "By the last comparison."),
        resolved_at=maybe(MOMENT),
        acknowledged_by=text(),
        acknowledged_at=maybe(MOMENT),
    ),
)
QUERY = paging.page_query(
    ["-found_at", "resolved_at", "code"],
    state=STATE,
    scope=SCOPE,
    kind=KIND,
    portfolio_id=text(maxLength=36),
    code=text(maxLength=20),
    since=described(MOMENT_IN, "Found at this moment or later."),
    until=described(MOMENT_IN, "Found before this moment."),
)


class Reconciliation(ApiView):
    @route("reconciliation_list", "Where books differ", tag=TAG, query=QUERY, answer=paging.page_of(MISMATCH))
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """Portfolios against their fills, accounts against their brokers; the newest first. Staff see all, others what
        is of their own portfolios and accounts."""
        chosen = Mismatch.objects.exclude(state=MismatchState.SUSPECTED).select_related("portfolio", "account")
        chosen = chosen.filter(**{name: query[name] for name in _SAME if name in query})
        if not sees_all(request.user):
            own = Q(portfolio__owner_id=request.user.pk) | Q(portfolio=None, account__owner_id=request.user.pk)
            chosen = chosen.filter(own)
        if "since" in query:
            chosen = chosen.filter(found_at__gte=moment(query["since"]))
        if "until" in query:
            chosen = chosen.filter(found_at__lt=moment(query["until"]))
        found, count = paging.rows(chosen, query)
        return Response(paging.document(request, query, count, found, facts))


_SAME = ("state", "scope", "kind", "portfolio_id", "code")
