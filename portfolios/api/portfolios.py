"""/api/portfolio: the portfolios there are; a new one; one of them read, configured anew, renamed, removed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.models import Q, QuerySet
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.reverse import reverse

from portfolios import configs, removal, services
from portfolios.api import components, reading, shapes
from portfolios.api.kit import audit, paging, versions
from portfolios.api.kit.errors import PERMISSION_DENIED, ApiError, invalid
from portfolios.api.kit.rights import sees_all, visible
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import TRADE
from portfolios.errors import InvalidConfig
from portfolios.kernel.config import Fault
from portfolios.lookup import locked
from portfolios.models import Portfolio
from portfolios.models.portfolio import DesiredState
from portfolios.reading import joined

TAG = "portfolios"
_EXAMPLE_CONFIG = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
    "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 10.0}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10000}},
    "codes": ["600519.SH", "000001.SZ"],
}
_RELOADING = "Portfolio config updated, reload initiated"


class Portfolios(ApiView):
    @route(
        "portfolio_list",
        "The portfolios there are",
        tag=TAG,
        query=shapes.PORTFOLIOS,
        answer=paging.page_of(shapes.PORTFOLIO_ROW),
    )
    def get(self, request: Request, query: Mapping[str, Any]) -> Response:
        """One's own; for staff, everybody's."""
        chosen = _filtered(visible(request.user), query).defer("config")
        found, count = paging.rows(joined(chosen).select_related("owner"), query)
        return Response(paging.document(request, query, count, reading.rows(found)))

    @route(
        "portfolio_create",
        "A new portfolio",
        tag=TAG,
        scope=TRADE,
        writes=True,
        body=shapes.NEW,
        status=201,
        answer=shapes.PORTFOLIO,
        example={"name": "My trend", "market": "cn", "initial_cash": 1000000, "config": _EXAMPLE_CONFIG},
    )
    def post(self, request: Request, body: Mapping[str, Any]) -> Response:
        """It runs once it is started. What is wrong with its configuration is told fault by fault."""
        components.check(body["config"])
        owner = body.get("owner")
        if owner is not None and owner != request.user.get_username() and not sees_all(request.user):
            raise ApiError(PERMISSION_DENIED, "only staff can create portfolios for others")
        try:
            made = services.create(
                body["name"],
                owner or request.user,
                body.get("market", "cn"),
                _cash(body["initial_cash"]),
                body["config"],
                running=body.get("running", False),
                author=request.user,
                account=body.get("account"),
                confirmed=body.get("confirm", False),
            )
        except InvalidConfig as error:
            raise invalid(within_config(error.faults)) from None
        audit.record(request, "portfolio.create", made.id, {"name": (None, made.name), "config": (None, made.config)})
        return created(request, made)


class OnePortfolio(ApiView):
    @route("portfolio_get", "A portfolio", tag=TAG, answer=shapes.PORTFOLIO)
    def get(self, request: Request, portfolio_id: str) -> Response:
        """Its configuration, its state, and what it has. Its ETag is its version."""
        found = reading.one(request, portfolio_id)
        return Response(reading.whole(found), headers=versions.etag(found.version))

    @route(
        "portfolio_update",
        "Give it another configuration",
        tag=TAG,
        scope=TRADE,
        writes=True,
        versioned=True,
        body=shapes.REPLACEMENT,
        answer=shapes.CHANGED,
        example={
            "config": {"strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 10, "long_period": 30}}}
        },
        answered={
            "success": True, "portfolio_id": "7d5e…", "status": "reloading", "version": 2,
            "updated_at": "2026-01-04T10:00:00Z", "message": _RELOADING,
        },
    )  # fmt: skip
    def put(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """Each part that is given (`strategy`, `risk_managements`, `sizer`, `codes`, `policy`) replaces the one there
        is; the others stay. It is a new version, and a running portfolio goes over to it by a graceful reload."""
        portfolio = _mine(request, portfolio_id)
        versions.compare(portfolio, versions.expected(request, body))
        return _changed(request, portfolio, {**portfolio.config, **body["config"]})

    @route(
        "portfolio_change",
        "Change parts of it",
        tag=TAG,
        scope=TRADE,
        writes=True,
        versioned=True,
        body=shapes.CHANGE,
        answer=shapes.CHANGED,
        example={"name": "My trend, slower", "config": {"strategy": {"params": {"long_period": 60}}}},
    )
    def patch(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """Its name, or single settings of its configuration by JSON merge patch (RFC 7396): what is given is changed,
        null takes a setting away, lists are replaced whole."""
        portfolio = _mine(request, portfolio_id)
        versions.compare(portfolio, versions.expected(request, body))
        name = body.get("name", portfolio.name).strip()
        renamed = {"name": (portfolio.name, name)} if name != portfolio.name else {}
        if renamed:
            portfolio.name = name
            portfolio.save(update_fields=["name", "updated_at"])
        return _changed(request, portfolio, merged(portfolio.config, body.get("config", {})), renamed)

    @route("portfolio_delete", "Take it away for good", tag=TAG, scope=TRADE, writes=True, versioned=True, status=204)
    def delete(self, request: Request, portfolio_id: str) -> Response:
        """Only a stopped one that never traded: books are kept."""
        portfolio = _mine(request, portfolio_id)
        versions.compare(portfolio, versions.expected(request, {}))
        audit.record(
            request,
            "portfolio.delete",
            portfolio.id,
            {"name": (portfolio.name, None), "config": (portfolio.config, None)},
        )
        removal.remove(portfolio.id)
        return Response(status=204)


def created(request: Request, portfolio: Portfolio) -> Response:
    """The 201 for a portfolio that has just been made."""
    address = reverse("api-portfolio", args=[portfolio.id], request=request)
    made = (
        reading.one(request, portfolio.id) if sees_all(request.user) or portfolio.owner == request.user else portfolio
    )
    return Response(reading.whole(made), 201, headers={"Location": address, **versions.etag(portfolio.version)})


def merged(config: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    found = dict(config)
    for key, value in patch.items():
        if value is None:
            found.pop(key, None)
        elif isinstance(value, Mapping):
            inner = found.get(key)
            found[key] = merged(inner if isinstance(inner, Mapping) else {}, value)
        else:
            found[key] = value
    return found


def within_config(faults: list[Fault]) -> list[Fault]:
    """The faults of a portfolio, with the paths that they have in the request: a config's begin with `config`."""
    outer = {"name", "market", "initial_cash", "account", "config"}
    return [f if f.path.partition(".")[0] in outer else Fault(f"config.{f.path}", f.message) for f in faults]


def _mine(request: Request, portfolio_id: str) -> Portfolio:
    """The row, locked until the answer, if the caller may know of it. Raises ApiError (404)."""
    reading.exists(request, portfolio_id)
    return locked(portfolio_id)


def _changed(
    request: Request,
    portfolio: Portfolio,
    config: dict[str, Any],
    renamed: Mapping[str, tuple[Any, Any]] = audit.NO_CHANGE,
) -> Response:
    components.check(config, portfolio.config)
    before = portfolio.config
    try:
        changed = services.update_config(portfolio.id, config, author=request.user)
    except InvalidConfig as error:
        raise invalid(within_config(error.faults)) from None
    differences = {change.path: (change.before, change.after) for change in configs.diff(before, changed.config)}
    changes = {**renamed, **{f"config.{path}": values for path, values in differences.items()}}
    audit.record(request, "portfolio.update", portfolio.id, changes)
    if not differences:
        message, status = "Portfolio config is as it was", str(changed.status)
    elif changed.desired_state == DesiredState.RUNNING:
        message, status = _RELOADING, "reloading"
    else:
        message, status = "Portfolio config updated, it is loaded when the portfolio is started", "reloading"
    return Response(
        {
            "success": True,
            "portfolio_id": changed.id,
            "status": status,
            "version": changed.version,
            "updated_at": changed.updated_at,
            "message": message,
        },
        headers=versions.etag(changed.version),
    )


def _cash(given: float | str) -> Any:
    """A JSON number is binary: 0.3 is meant by 0.30000000000000004."""
    return given if isinstance(given, str) else f"{given:.4f}"


def _filtered(chosen: QuerySet[Portfolio], query: Mapping[str, Any]) -> QuerySet[Portfolio]:
    exact = {
        "status": "status",
        "desired_state": "desired_state",
        "market": "market",
        "node_id": "assignment__node_id",
        "owner": "owner__username",
    }
    wanted = Q(**{column: query[name] for name, column in exact.items() if name in query})
    if "name" in query:
        wanted &= Q(name__icontains=query["name"])
    return chosen.filter(wanted)
