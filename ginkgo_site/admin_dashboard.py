"""The admin's first page: what `ginkgo status` shows, with links."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.formats import date_format
from django.utils.html import format_html

from alerts import queries
from alerts.errors import StoreAway
from alerts.store import AlertStore
from alerts.visibility import portfolios_of
from ginkgo_site import status
from market.models import Fill
from portfolios.admin_base import SIDE_COLOURS, SIDES, amount, link
from portfolios.console import database_trouble

_RECENT = 8
# The page is renewed every ten seconds: it does not wait long for a MongoDB that is away.
_ALERTS = AlertStore(wait=0.5)
_STATES = {
    "running": "success",
    "online": "success",
    "stopping": "warning",
    "reloading": "warning",
    "unknown": "warning",
    "error": "danger",
    "missing": "danger",
    "offline": "danger",
}


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds cards and tables to the page's context, or says why there are none."""
    now = datetime.now(UTC)
    try:
        look = status.look()
        fills = list(Fill.objects.select_related("portfolio")[:_RECENT])
    except DatabaseError as error:
        return {**context, "notes": [database_trouble(error)]}
    document = look.document
    return {
        **context,
        "notes": look.notes,
        "cards": [*_cards(document["orders"], document["feed"]), *_alerts_card(request, now)],
        "nodes": _nodes(document["nodes"], now),
        "portfolios": _portfolios(document["portfolios"]),
        "fills": _fills(fills),
        "at": now,
        "flower": settings.GINKGO_RESOLVE().flower,
    }


def _cards(orders: dict[str, int], feed: dict[str, Any]) -> list[dict[str, str]]:
    event_time = feed["event_time"]
    return [
        {"title": "Orders filled", "value": f"{orders['filled']:,}", "note": f"of {orders['submitted']:,} submitted"},
        {"title": "Rejected", "value": f"{orders['rejected']:,}", "note": "with a reason each"},
        {"title": "Fenced", "value": f"{orders['fenced']:,}", "note": "from owners of the past"},
        {
            "title": "Market data",
            "value": f"{feed['messages']:,}",
            "note": f"{feed['per_second']:,.1f}/s, now at {event_time[:10]}" if event_time else "nothing published yet",
        },
    ]


def _alerts_card(request: HttpRequest, now: datetime) -> list[dict[str, str]]:
    if not request.user.has_perm("alerts.view_alert"):
        return []
    try:
        found = queries.by_severity(_ALERTS, now - timedelta(days=1), portfolios_of(request.user), each=False)
    except StoreAway:
        return [{"title": "Alerts", "value": "-", "note": "MongoDB does not answer"}]
    url = reverse("admin:alerts_alert_changelist")
    value = format_html('<a href="{}?period=24h">{}</a>', url, f"{found['critical']:,}")
    note = f"critical, {found['warning']:,} warnings in 24 hours"
    return [{"title": "Alerts", "value": value, "note": note}]


def _nodes(nodes: list[dict[str, Any]], now: datetime) -> dict[str, Any]:
    return {
        "headers": ["Node", "State", "Portfolios", "Queue", "CPU %", "Memory MB", "Events", "Heartbeat"],
        "rows": [
            [
                link("scheduler.node", node["id"]),
                _label(node["state"], _STATES) if node["enabled"] else _label("drained", {"drained": "warning"}),
                f"{node['portfolios']} of {_number(node['max_portfolios'])}",
                _number(node["queue_size"]),
                _number(node["cpu"]),
                _number(node["memory_mb"]),
                _number(node["events"]),
                _age(status.age_of(node["last_heartbeat"], now)),
            ]
            for node in nodes
        ],
    }


def _portfolios(portfolios: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "headers": ["Portfolio", "Status", "Node", "Epoch", "Cash", "Total value"],
        "rows": [
            [
                link("portfolios.portfolio", portfolio["id"], portfolio["name"]),
                _label(portfolio["status"], _STATES),
                link("scheduler.node", portfolio["node_id"]),
                portfolio["epoch"],
                f"{portfolio['cash']:,.2f}",
                f"{portfolio['total_value']:,.2f}",
            ]
            for portfolio in portfolios
        ],
    }


def _fills(fills: list[Fill]) -> dict[str, Any]:
    return {
        "headers": ["Market time, UTC", "Portfolio", "Side", "Code", "Volume", "Price", "Fees"],
        "rows": [
            [
                date_format(fill.event_time, "Y-m-d H:i"),
                link("portfolios.portfolio", fill.portfolio_id, fill.portfolio),
                _label(SIDES[fill.direction], SIDE_COLOURS),
                fill.code,
                f"{fill.volume:,}",
                amount(fill.price),
                amount(fill.commission + fill.tax),
            ]
            for fill in fills
        ],
    }


def _label(text: str, colours: dict[str, str]) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colours.get(text)})


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{max(seconds, 0):.0f} s ago" if seconds < 3600 else f"{seconds / 3600:.0f} h ago"
