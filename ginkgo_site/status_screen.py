"""The status document as a person reads it, on a terminal of 80 columns."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from ginkgo_site.status import Look, age_of

_GOOD, _BAD = "green", "red"
_COLOURS = {
    "running": _GOOD,
    "online": _GOOD,
    "error": _BAD,
    "offline": _BAD,
    "missing": _BAD,
    "fenced": _BAD,
    "unhealthy": _BAD,
    "unknown": "yellow",
}


def render(look: Look, now: datetime) -> RenderableType:
    """Nodes, portfolios, a line of totals, and what could not be found out."""
    document = look.document
    parts: list[RenderableType] = [
        _nodes(document["nodes"], now),
        *(Text(f"{n['id']}: {n['health']}", style=_BAD) for n in document["nodes"] if n["health"]),
        _portfolios(document["portfolios"]),
        totals(document, now),
        *(Text(note, style="yellow") for note in look.notes),
    ]
    return Group(*parts)


def totals(document: dict[str, Any], now: datetime) -> Text:
    """One line: orders and the feed."""
    orders, feed = document["orders"], document["feed"]
    line = Text.assemble(
        ("orders ", "dim"),
        f"{orders['submitted']:,} submitted, {orders['filled']:,} filled, {orders['rejected']:,} rejected, ",
        (f"{orders['fenced']:,} fenced", "red" if orders["fenced"] else ""),
        "\n",
        ("feed   ", "dim"),
    )
    if feed["event_time"] is None:
        return line.append("nothing published yet")
    line.append(f"{feed['messages']:,} messages, {feed['per_second']:,.1f}/s, now at {feed['event_time'][:16]}")
    return line


def _nodes(nodes: list[dict[str, Any]], now: datetime) -> RenderableType:
    if not nodes:
        return Text("no node has ever run here: start one with 'ginkgo node start --node-id NAME'")
    table = _table("node", "state", "portfolios", "queue", "cpu %", "MB", "events", "lag", "heartbeat")
    for node in nodes:
        state = node["state"] if node["enabled"] else f"{node['state']}, drained"
        age = age_of(node["last_heartbeat"], now)
        table.add_row(
            node["id"],
            Text(state, style=_COLOURS.get(node["state"], "")),
            f"{node['portfolios']}/{_plain(node['max_portfolios'])}",
            _plain(node["queue_size"]),
            _plain(node["cpu"]),
            _plain(node["memory_mb"]),
            _plain(node["events"]),
            "-" if node["lag_seconds"] is None else _duration(node["lag_seconds"]),
            "-" if age is None else f"{_duration(age)} ago",
        )
    return table


def _portfolios(portfolios: list[dict[str, Any]]) -> RenderableType:
    if not portfolios:
        return Text("no portfolio yet: 'ginkgo portfolio create' makes one, 'ginkgo data seed' three samples")
    table = _table("portfolio", "status", "node", "epoch", "cash", "total value")
    for portfolio in portfolios:
        table.add_row(
            portfolio["name"],
            Text(portfolio["status"], style=_COLOURS.get(portfolio["status"], "")),
            portfolio["node_id"] or "-",
            str(portfolio["epoch"]),
            f"{portfolio['cash']:,.2f}",
            f"{portfolio['total_value']:,.2f}",
        )
    return table


_NUMBERS = {"portfolios", "queue", "cpu %", "MB", "events", "lag", "heartbeat", "epoch", "cash", "total value"}


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="right" if column in _NUMBERS else "left", overflow="fold")
    return table


def _plain(number: float | None) -> str:
    return "-" if number is None else f"{number:,.0f}"


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{max(seconds, 0):.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h"
