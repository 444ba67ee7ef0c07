"""The shapes of what the routes of alerting take and answer."""

from __future__ import annotations

from alerts.digest import SEVERITIES
from alerts.models.notification import Outcome
from portfolios.api.kit.shapes import (
    BOOLEAN,
    COUNT,
    LARGEST,
    MOMENT,
    Shape,
    answer,
    body,
    choices,
    described,
    many,
    maybe,
    named,
    text,
)

SEVERITY = choices("Severity", SEVERITIES)
OUTCOME = choices("NotificationOutcome", Outcome.values)
ID = {"type": "integer", "minimum": 1, "maximum": LARGEST}
_NAME = text("The user's own name for it.", minLength=1, maxLength=100, pattern=r"\S")
_ENABLED: Shape = {**BOOLEAN, "default": True}

CHANNEL = named(
    "AlertChannel",
    answer(
        id=ID,
        name=text(),
        address=text("What may be seen of it: like `mailtos://example.com/…`. The address itself never comes out."),
        enabled=BOOLEAN,
        created_at=MOMENT,
    ),
)
_channel = {
    "name": _NAME,
    "url": text(
        "An Apprise URL, like mailtos://user:password@example.com?to=me@example.com; stored encrypted, never shown.",
        minLength=4,
        maxLength=2000,
        writeOnly=True,
    ),
    "enabled": _ENABLED,
}
NEW_CHANNEL = named("NewAlertChannel", body(["name", "url"], **_channel))
CHANNEL_CHANGE = named("AlertChannelChange", {**body((), **_channel), "minProperties": 1})

_CLOCK = maybe(text("By the clock of `time_zone`.", pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$"))
_PATTERNS = many(text(minLength=1, maxLength=100, pattern=r"^[^,\s]+$"), maxItems=50)
_rule = {
    "name": _NAME,
    "enabled": _ENABLED,
    "severity": {**SEVERITY, "default": "warning"},
    "types": described(_PATTERNS, "Like queue_full or data_*; none: every type."),
    "sources": described(_PATTERNS, "Like node-* or scheduler; none: every source."),
    "portfolios": described(many(text(maxLength=50), maxItems=1000), "Their ids; none: all that the user may see."),
    "channels": described(many(ID, maxItems=100), "By which of the user's channels."),
    "min_interval": {
        "type": "integer", "minimum": 1, "maximum": LARGEST, "default": 60,
        "description": "Seconds between notifications; what comes in between is told together.",
    },
    "quiet_from": described(_CLOCK, "Quiet hours: nothing leaves from here on; given with `quiet_until`."),
    "quiet_until": described(_CLOCK, "Until here, when all of it is told at once."),
    "time_zone": text("Of the quiet hours.", minLength=1, maxLength=64),
    "critical_passes": described({**BOOLEAN, "default": True}, "A critical alert is told in quiet hours too."),
}  # fmt: skip
RULE = named(
    "AlertRule",
    answer(
        id=ID,
        name=text(),
        enabled=BOOLEAN,
        severity=SEVERITY,
        types=many(text()),
        sources=many(text()),
        portfolios=many(text()),
        channels=many(ID),
        min_interval=COUNT,
        quiet_from=maybe(text()),
        quiet_until=maybe(text()),
        time_zone=text(),
        critical_passes=BOOLEAN,
        created_at=MOMENT,
    ),
)
NEW_RULE = named("NewAlertRule", body(["name"], **_rule))
RULE_CHANGE = named("AlertRuleChange", {**body((), **_rule), "minProperties": 1})

NOTIFICATION = named(
    "AlertNotification",
    answer(
        id=ID,
        title=text("Of the alerts in it."),
        severity=SEVERITY,
        alert_count=COUNT,
        rule_id=maybe(ID),
        rule=text("Empty: a test."),
        channel_id=maybe(ID),
        channel=text(),
        is_test=BOOLEAN,
        held=described(BOOLEAN, "Kept back for the end of quiet hours."),
        outcome=OUTCOME,
        reason=text("Why it was not sent, where it was not."),
        attempts=COUNT,
        created_at=MOMENT,
        next_attempt_at=maybe(MOMENT),
        sent_at=maybe(MOMENT),
    ),
)
