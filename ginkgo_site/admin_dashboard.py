"""The admin's first page: the cluster at a glance, what is not well first. It costs the same however much there is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import redis
from django.conf import settings
from django.db import DatabaseError
from django.db.models import Case, Count, Q, Value, When
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
from market import switch
from market.engine import status as engine
from market.models import EngineSwitch, FencedMessage, Fill, Order
from market.models.order import OrderState
from portfolios import livestate, reading
from portfolios.admin_base import SIDE_COLOURS, SIDES, amount, link
from portfolios.console import database_trouble
from portfolios.counting import counts
from portfolios.models import Assignment, Portfolio
from portfolios.models.portfolio import DesiredState, Status

_RECENT = 8
_ROWS = 15
_SLOW = 5.0
"""Seconds behind the log from which on a node's lag is shown as something to look at."""
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
_WELL = Q(desired_state=DesiredState.RUNNING, status=Status.RUNNING) | Q(
    desired_state=DesiredState.STOPPED, status__in=(Status.STOPPED, Status.CREATED)
)


@dataclass(frozen=True)
class Card:
    """One figure with its words; `bad`: somebody should look. `value` and `note` are texts or safe HTML."""

    title: str
    value: str
    note: str
    bad: bool = False


def dashboard(request: HttpRequest, context: dict[str, Any]) -> dict[str, Any]:
    """Adds cards and tables to the page's context, or says why there are none."""
    now = datetime.now(UTC)
    try:
        look = status.overview(now)
        numbers = _numbers(now)
        portfolios = _first_portfolios()
        owned = _owned([node["id"] for node in _first_nodes(look)])
        fills = list(Fill.objects.select_related("portfolio")[:_RECENT])
    except DatabaseError as error:
        return {**context, "notes": [database_trouble(error)]}
    return {
        **context,
        "notes": look.notes,
        "cards": [
            _nodes_card(look),
            _portfolios_card(numbers),
            _lag_card(look),
            _feed_card(look, now),
            _orders_card(numbers),
            _engine_card(numbers["off"] > 0, now),
            *_alerts_card(request, now),
        ],
        "tables": [_nodes(look, owned), _portfolios(portfolios, numbers["all"]), _fills(fills)],
        "at": now,
        "flower": settings.GINKGO_RESOLVE().flower,
    }


def _numbers(now: datetime) -> dict[str, int]:
    """Of portfolios, of today's orders (the UTC day), and whether the engines are off, in one query."""
    today = Order.objects.filter(received_at__gte=now.replace(hour=0, minute=0, second=0, microsecond=0))
    return counts(
        all=Portfolio.objects.all(),
        running=Portfolio.objects.filter(status=Status.RUNNING),
        wanted=Portfolio.objects.filter(desired_state=DesiredState.RUNNING),
        broken=Portfolio.objects.filter(status=Status.ERROR),
        orders=today,
        filled=today.filter(state=OrderState.FILLED),
        rejected=today.filter(state=OrderState.REJECTED),
        fenced=FencedMessage.objects.filter(received_at__gte=now - timedelta(days=1)),
        off=EngineSwitch.objects.filter(on=False),
    )


def _nodes_card(look: status.Overview) -> Card:
    alive = sum(node["heartbeat_age"] is not None for node in look.nodes)
    drained = sum(not node["enabled"] for node in look.nodes)
    silent = [node for node in look.nodes if node["heartbeat_age"] is None and node["enabled"]]
    note = "no heartbeat is known" if not look.known else f"alive; {drained} drained" if drained else "alive"
    return Card("Nodes", f"{alive:,} of {len(look.nodes):,}", note, bad=bool(silent))


def _portfolios_card(numbers: dict[str, int]) -> Card:
    note = f"of {numbers['wanted']:,} that are to run; {numbers['broken']:,} in error"
    bad = numbers["broken"] > 0 or numbers["running"] < numbers["wanted"]
    return Card("Portfolios running", f"{numbers['running']:,}", note, bad)


def _lag_card(look: status.Overview) -> Card:
    """How far the slowest node is behind the log; a node that has not measured it yet says nothing."""
    measured = [each for each in look.metrics.values() if "lag_seconds" in each]
    if not measured:
        return Card("Lag", "-", "no node has measured it yet")
    seconds = max(_float(each["lag_seconds"]) for each in measured)
    messages = sum(_float(each.get("lag_messages", "0")) for each in measured)
    return Card("Lag", f"{seconds:.1f} s", f"the slowest node; {messages:,.0f} messages in all", seconds > _SLOW)


def _feed_card(look: status.Overview, now: datetime) -> Card:
    age = status.age_of(look.feed.get("updated_at"), now)
    if age is None or age > status.FEED_IS_SILENT:
        return Card("Market data", "silent", "no feed speaks", bad=look.known)
    at = look.feed.get("event_time") or ""
    return Card("Market data", f"{_float(look.feed.get('per_second', '0')):,.1f}/s", f"market time {at[:10] or '-'}")


def _orders_card(numbers: dict[str, int]) -> Card:
    note = f"{numbers['filled']:,} filled, {numbers['rejected']:,} rejected, {numbers['fenced']:,} fenced"
    url = reverse("admin:market_order_changelist")
    return Card("Orders today", format_html('<a href="{}">{}</a>', url, f"{numbers['orders']:,}"), note)


def _engine_card(off: bool, now: datetime) -> Card:
    url = reverse("admin:market_engineswitch_changelist")
    try:
        alive = engine.spoken(now)["alive"]
        note = "an engine speaks" if alive else "no engine speaks"
    except (redis.RedisError, livestate.RedisUnavailable):
        alive, note = True, "whether one speaks is not known"
    if off:
        note = f"turned off by {switch.read().changed_by or '?'}"
    value = format_html('<a href="{}">{}</a>', url, "OFF" if off else "on")
    return Card("Engines", value, note, bad=off or not alive)


def _alerts_card(request: HttpRequest, now: datetime) -> list[Card]:
    if not request.user.has_perm("alerts.view_alert"):
        return []
    try:
        found = queries.by_severity(_ALERTS, now - timedelta(days=1), portfolios_of(request.user), each=False)
    except StoreAway:
        return [Card("Alerts", "-", "MongoDB does not answer")]
    url = reverse("admin:alerts_alert_changelist")
    value = format_html('<a href="{}?period=24h">{}</a>', url, f"{found['critical']:,}")
    note = f"critical, {found['warning']:,} warnings in 24 hours"
    return [Card("Alerts", value, note, bad=found["critical"] > 0)]


def _first_nodes(look: status.Overview) -> list[dict[str, Any]]:
    return sorted(look.nodes, key=lambda node: (_STATES.get(node["state"]) == "success", node["id"]))[:_ROWS]


def _owned(nodes: Sequence[str]) -> dict[str, int]:
    rows = Assignment.objects.filter(node_id__in=nodes).order_by().values_list("node_id")
    return dict(rows.annotate(Count("pk")))


def _nodes(look: status.Overview, owned: dict[str, int]) -> dict[str, Any]:
    rows = []
    for node in _first_nodes(look):
        said = look.metrics.get(node["id"], {})
        rows.append(
            [
                link("scheduler.node", node["id"]),
                _label(node["state"], _STATES) if node["enabled"] else _label("drained", {"drained": "warning"}),
                f"{owned.get(node['id'], 0)} of {_number(look.rooms.get(node['id']))}",
                _said(said, "queue_size"),
                f"{_float(said['lag_seconds']):.1f}" if "lag_seconds" in said else "-",
                _said(said, "cpu_usage"),
                _said(said, "memory_usage"),
                _said(said, "total_events"),
                _age(node["heartbeat_age"]),
            ]
        )
    heads = ["Node", "State", "Portfolios", "Queue", "Lag, s", "CPU %", "Memory MB", "Events", "Heartbeat"]
    return {"headers": heads, "rows": rows, "title": _title("Nodes", len(rows), len(look.nodes), "scheduler_node")}


def _first_portfolios() -> list[Portfolio]:
    """Those first that are not as they are wanted."""
    chosen = reading.joined(Portfolio.objects.all())
    well = Case(When(status=Status.ERROR, then=Value(0)), When(_WELL, then=Value(2)), default=Value(1))
    return list(chosen.alias(well=well).order_by("well", "name", "pk")[:_ROWS])


def _portfolios(found: list[Portfolio], in_all: int) -> dict[str, Any]:
    figures = reading.figures_of(found)
    rows = []
    for each in found:
        now = reading.status_of(each, figures.get(each.pk))
        rows.append(
            [
                link("portfolios.portfolio", each.pk, each.name),
                _label(now["status"], _STATES),
                DesiredState(each.desired_state).label,
                link("scheduler.node", now["node_id"]),
                now["epoch"],
                f"{now['cash']:,.2f}",
                f"{now['total_value']:,.2f}",
            ]
        )
    heads = ["Portfolio", "Status", "Wanted", "Node", "Epoch", "Cash", "Total value"]
    return {"headers": heads, "rows": rows, "title": _title("Portfolios", len(rows), in_all, "portfolios_portfolio")}


def _fills(fills: list[Fill]) -> dict[str, Any]:
    return {
        "title": "Last fills",
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


def _title(name: str, shown: int, in_all: int, page: str) -> str:
    if shown >= in_all:
        return name
    url = reverse(f"admin:{page}_changelist")
    words = '{}: {} of <a class="text-primary-600 dark:text-primary-500" href="{}">{}</a>, what is not well first'
    return format_html(words, name, shown, url, f"{in_all:,}")


def _label(text: str, colours: dict[str, str]) -> str:
    return render_to_string("unfold/helpers/label.html", {"text": text, "type": colours.get(text)})


def _said(metrics: dict[str, str], name: str) -> str:
    return _number(_float(metrics[name])) if name in metrics else "-"


def _float(text: str) -> float:
    """What another process wrote: what is odd counts as nothing."""
    try:
        return float(text)
    except ValueError:
        return 0.0


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}"


def _age(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    return f"{max(seconds, 0):.0f} s ago" if seconds < 3600 else f"{seconds / 3600:.0f} h ago"
