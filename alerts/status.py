"""How alerting does: how far behind the log its two readers are, and what became of the last day's notifications."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count

from alerts.errors import StoreAway
from alerts.models import Channel, LogPlace, Notification, Rule
from alerts.models.notification import Outcome
from alerts.notify import Notifier
from alerts.queries import by_severity
from alerts.store import AlertStore
from alerts.stream import Recorder
from market import topic_admin, topics
from market.bus import KafkaUnavailable

_DAY = timedelta(days=1)


def look(now: datetime | None = None) -> dict[str, Any]:
    """One document; what a server that is away would have told is None, and `notes` says why. Raises DatabaseError."""
    now = now or datetime.now(UTC)
    notes: list[str] = []
    log_id, ends = "", None
    try:
        topic = next((t for t in topic_admin.status().topics if t.name == topics.ALERTS), None)
        if topic is not None:
            log_id, ends = topic.topic_id, topic.end_offsets
    except KafkaUnavailable as error:
        notes.append(str(error))
    store = AlertStore()
    counts, stored = None, None
    try:
        counts = by_severity(store, now - _DAY)
        kept, offsets = store.place(Recorder.name)
        stored = offsets if kept == log_id else {}
    except StoreAway as error:
        notes.append(str(error))
    finally:
        store.close()
    place = LogPlace.objects.filter(name=Notifier.name, log=log_id).first()
    weighed = {int(p): offset for p, offset in place.offsets.items()} if place else {}
    outcomes = dict(
        Notification.objects.filter(created_at__gte=now - _DAY)
        .order_by()
        .values_list("outcome")
        .annotate(count=Count("pk"))
    )
    return {
        "last_day": counts,
        "not_stored_yet": _behind(ends, stored),
        "not_weighed_yet": _behind(ends, weighed),
        "rules": Rule.objects.filter(enabled=True).count(),
        "channels": Channel.objects.filter(enabled=True).count(),
        "notifications": {outcome.value: outcomes.get(outcome.value, 0) for outcome in Outcome},
        "failing": [
            {"channel": n.channel_name, "rule": n.rule_name, "attempts": n.attempts, "reason": n.reason}
            for n in Notification.objects.filter(
                outcome__in=(Outcome.RETRYING, Outcome.FAILED), created_at__gte=now - _DAY
            )[:5]
        ],
        "notes": notes,
    }


def _behind(ends: dict[int, int] | None, place: dict[int, int] | None) -> int | None:
    """Messages of the log that a reader has not come to; expired ones count too where it has never read."""
    if ends is None or place is None:
        return None
    return sum(max(0, end - place.get(partition, 0)) for partition, end in ends.items())
