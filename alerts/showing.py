"""What `ginkgo alerts` prints: entries of two lines that fit 80 columns, and nothing that could drive a terminal."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Q
from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from alerts.errors import AlertError
from alerts.models import Channel
from alerts.queries import Answer
from market.messages import Alert
from portfolios.api.kit.moments import parse
from portfolios.console import console

_COLOURS = {"info": "cyan", "warning": "yellow", "critical": "bold red"}
_AGO = re.compile(r"([0-9]{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def moment(given: str, now: datetime) -> datetime | None:
    """`15m` ago, an RFC 3339 moment, or seconds since 1970; None if it is none of them."""
    if found := _AGO.fullmatch(given):
        return now - timedelta(seconds=int(found[1]) * _SECONDS[found[2]])
    if re.fullmatch(r"[0-9]{9,10}(\.[0-9]+)?", given):
        return datetime.fromtimestamp(float(given), UTC)
    return parse(given)


def print_answer(answer: Answer) -> None:
    out = console()
    for alert in reversed(answer.alerts):
        _print(out, alert)
    shown, total = len(answer.alerts), answer.total_count
    if not total:
        out.print("No alerts.")
    elif shown < total:
        out.print(Text(f"The newest {shown:,} of {total:,}; --limit shows more.", style="dim"))


def print_one(alert: Alert, as_json: bool) -> None:
    document = {
        "alert_id": alert.alert_id,
        "alert_type": alert.alert_type,
        "severity": alert.severity,
        "source": alert.source,
        "message": alert.message,
        "details": alert.details,
        "timestamp": alert.timestamp,
    }
    if as_json:
        line = json.dumps({**document, "timestamp": alert.timestamp.isoformat()}, ensure_ascii=False)
        # Not by Rich, which would fold it.
        print(line, flush=True)  # noqa: T201
        return
    _print(console(), document)


def print_status(document: dict[str, Any]) -> None:
    out = console()
    day = document["last_day"]
    if day is not None:
        out.print(f"last day         {', '.join(f'{count:,} {severity}' for severity, count in day.items())}")
    for words, name in (("not stored yet", "not_stored_yet"), ("not weighed yet", "not_weighed_yet")):
        if document[name] is not None:
            out.print(f"{words:<17}{document[name]:,}")
    out.print(f"rules            {document['rules']:,}, by {document['channels']:,} channels")
    told = ", ".join(f"{count:,} {outcome}" for outcome, count in document["notifications"].items() if count)
    out.print(f"notifications    {told or 'none'}")
    for failing in document["failing"]:
        where = f"{failing['rule'] or 'test'} by {failing['channel']}"
        out.print(
            Text(_tame(f"failing          {where}, {failing['attempts']} tries: {failing['reason']}"), style="red")
        )
    for note in document["notes"]:
        out.print(Text(_tame(note), style="yellow"))


def say(line: str) -> None:
    console().print(Text(_tame(line)))


def find_channel(text: str, user: str | None) -> Channel:
    """By id or name. Raises AlertError unless exactly one fits."""
    named = Q(name=text) | (Q(pk=int(text)) if text.isdigit() and len(text) < 18 else Q())
    found = list(Channel.objects.filter(named, **({"user__username": user} if user else {})).select_related("user")[:3])
    if not found:
        raise AlertError(f"there is no channel {text!r}: see 'ginkgo alerts channels', or make one in the admin")
    if len(found) > 1:
        owners = ", ".join(f"{channel.user.get_username()} (id {channel.pk})" for channel in found)
        raise AlertError(f"several channels are called {text!r}: of {owners}; give the id, or --user")
    return found[0]


def _print(out: Console, alert: dict[str, Any]) -> None:
    line = Text(f"{alert['timestamp'].astimezone(UTC):%Y-%m-%d %H:%M:%S}  ")
    line.append(f"{alert['severity']:<8}", style=_COLOURS.get(alert["severity"], ""))
    line.append(f"  {_tame(alert['alert_type'])}", style="bold")
    line.append(f"  {_tame(alert['source'])}")
    if alert.get("count", 1) > 1:
        line.append(f"  ×{alert['count']:,} since {alert['first_seen']:%m-%d %H:%M:%S}", style="dim")
    out.print(line)
    out.print(Padding(Text(_tame(alert["message"])), (0, 0, 0, 4), expand=False))


def _tame(text: str) -> str:
    return "".join(each if each.isprintable() else " " for each in text)
