"""/api/portfolio/{id}/start, stop, reload, rollback: what an owner wants of it. A node makes it true."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from portfolios import command_log, configs, services
from portfolios.api import reading, shapes
from portfolios.api.kit import audit, versions
from portfolios.api.kit.route import ApiView, route
from portfolios.api_keys import TRADE
from portfolios.lookup import locked
from portfolios.models import Portfolio

TAG = "portfolios"


class Start(ApiView):
    @route(
        "portfolio_start", "Want it running", tag=TAG, scope=TRADE, writes=True, versioned=True,
        body=shapes.START, answer=shapes.WISHED,
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """The scheduler finds it a node. Also the way out of `error`."""
        confirmed = body.get("confirm", False)
        words, who = "it is to run; the scheduler finds it a node", request.user.get_username()
        ask = partial(services.start, confirmed=confirmed, asked_by=who)
        return _wish(request, "portfolio.start", portfolio_id, body, ask, words)


class Stop(ApiView):
    @route(
        "portfolio_stop", "Want it stopped", tag=TAG, scope=TRADE, writes=True, versioned=True,
        body=shapes.WISH, answer=shapes.WISHED,
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """Orders not answered yet are cancelled; what it holds, it keeps."""
        words = "it is to stop; its node stops it"
        ask = partial(services.stop, asked_by=request.user.get_username())
        return _wish(request, "portfolio.stop", portfolio_id, body, ask, words)


class Reload(ApiView):
    @route(
        "portfolio_reload", "Load its newest configuration again", tag=TAG, scope=TRADE, writes=True, versioned=True,
        body=shapes.WISH, answer=shapes.WISHED,
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """For one that runs an older version than its newest."""
        found = _mine(request, portfolio_id, body)
        asked = services.reload(found.id, request.user.get_username())
        audit.record(request, "portfolio.reload", found.id, audit.NO_CHANGE)
        words = "its node is asked to load the newest configuration"
        return _wished(found, words if asked.assignment.node_id else command_log.NEXT_START)


class Rollback(ApiView):
    @route(
        "portfolio_rollback", "Restore an old configuration", tag=TAG, scope=TRADE, writes=True, versioned=True,
        body=shapes.ROLLBACK, answer=shapes.WISHED, example={"to_version": 1},
    )  # fmt: skip
    def post(self, request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Response:
        """The configuration of `to_version` becomes the next version."""
        found = _mine(request, portfolio_id, body)
        before = found.config
        changed = services.rollback(found.id, body["to_version"], author=request.user)
        differences = {f"config.{c.path}": (c.before, c.after) for c in configs.diff(before, changed.config)}
        audit.record(request, "portfolio.rollback", found.id, differences)
        return _wished(changed, f"version {body['to_version']} is restored as version {changed.version}")


def _mine(request: Request, portfolio_id: str, body: Mapping[str, Any]) -> Portfolio:
    seen = versions.expected(request, body)
    reading.exists(request, portfolio_id)
    found = locked(portfolio_id)
    versions.compare(found, seen)
    return found


def _wish(
    request: Request,
    action: str,
    portfolio_id: str,
    body: Mapping[str, Any],
    ask: Callable[[str], Portfolio],
    words: str,
) -> Response:
    """Asks for a state, writes down whether that is another than was wanted, and says so."""
    before = _mine(request, portfolio_id, body)
    after = ask(before.id)
    states = str(before.desired_state), str(after.desired_state)
    audit.record(request, action, before.id, {"desired_state": states} if states[0] != states[1] else audit.NO_CHANGE)
    return _wished(after, words)


def _wished(portfolio: Portfolio, message: str) -> Response:
    return Response(
        {
            "success": True,
            "portfolio_id": portfolio.id,
            "status": portfolio.status,
            "desired_state": portfolio.desired_state,
            "version": portfolio.version,
            "message": message,
        },
        headers=versions.etag(portfolio.version),
    )
