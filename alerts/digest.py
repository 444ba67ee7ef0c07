"""What many alerts are told as: one entry a kind, however often it came. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from market.messages import Alert

SEVERITIES = ("info", "warning", "critical")
MOST_KINDS = 200
"""As many kinds are kept in a notification; of the rest only the number of alerts is."""
_LINES = 50
_MESSAGE = 300

_REST = "others"


def portfolio_of(alert: Alert) -> str:
    """The portfolio an alert is about, or the empty string where it is about none."""
    found = alert.details.get("portfolio_id")
    return found if isinstance(found, str) else ""


def at_least(severity: str) -> tuple[str, ...]:
    """The severities from this one up."""
    return SEVERITIES[SEVERITIES.index(severity) :]


def worst(severities: Iterable[str]) -> str:
    return max(severities, key=SEVERITIES.index, default="info")


def added(kinds: list[dict[str, Any]], alerts: Iterable[Alert]) -> list[dict[str, Any]]:
    """`kinds` with `alerts` in it: by type, source, severity and portfolio, in the order of their first appearance."""
    merged = {_key(kind): dict(kind) for kind in kinds}
    for alert in alerts:
        kind = _kind(alert)
        key = _key(kind)
        if key not in merged and len(merged) >= MOST_KINDS:
            kind = {**kind, "alert_type": _REST, "source": "", "portfolio_id": "", "severity": "info"}
            key = _key(kind)
        known = merged.get(key)
        if known is None:
            merged[key] = kind
            continue
        known["count"] += 1
        known["first"] = min(known["first"], kind["first"])
        if kind["last"] >= known["last"]:
            known["last"], known["message"] = kind["last"], kind["message"]
    return list(merged.values())


def title(kinds: Sequence[Mapping[str, Any]]) -> str:
    """One line: the worst kind, and how many more alerts there are."""
    if not kinds:
        return "Ginkgo Live"
    first = _worst_first(kinds)[0]
    more = sum(kind["count"] for kind in kinds) - 1
    return f"[{first['severity']}] {first['alert_type']}: {first['source']}" + (f" (+{more:,})" if more else "")


def body(kinds: Sequence[Mapping[str, Any]]) -> str:
    """Two lines a kind, the worst and of those the rarest first; times in UTC."""
    lines = []
    for kind in _worst_first(kinds)[:_LINES]:
        times = f"{kind['count']:,} times from {_clock(kind['first'])} to " if kind["count"] > 1 else ""
        lines.append(f"[{kind['severity']}] {kind['alert_type']}: {kind['source']} - {times}{_clock(kind['last'])} UTC")
        lines.append(f"    {kind['message']}")
    hidden = kinds[_LINES:]
    if hidden:
        lines.append(f"… and {len(hidden):,} more kinds: see 'ginkgo alerts list'")
    return "\n".join(lines)


def _kind(alert: Alert) -> dict[str, Any]:
    moment = alert.timestamp.isoformat()
    return {
        "alert_type": alert.alert_type[:100],
        "source": alert.source[:100],
        "severity": alert.severity,
        "portfolio_id": portfolio_of(alert)[:36],
        "message": alert.message[:_MESSAGE],
        "first": moment,
        "last": moment,
        "count": 1,
    }


def _key(kind: Mapping[str, Any]) -> tuple[str, ...]:
    return (kind["alert_type"], kind["source"], kind["severity"], kind["portfolio_id"])


def _worst_first(kinds: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    # What came once among what came by the hundred is the more likely cause.
    return sorted(kinds, key=lambda kind: (-SEVERITIES.index(kind["severity"]), kind["count"]))


def _clock(moment: str) -> str:
    return moment[:19].replace("T", " ")
