"""The sink that turns alerts into notifications: the rules weighed, what is due noted, all in one transaction.

The place in the log is kept in the same transaction, so each alert counts once whatever is cut off, and two notifiers
at a time do each other's work, not each other's work twice. A rule has at most one notification a channel waiting for
its time, to which alerts are added: however many come, one leaves in each `min_interval`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime

from django.db import DatabaseError, transaction

from alerts import digest
from alerts.models import LogPlace, Notification, Rule
from alerts.models.notification import Outcome
from alerts.rules import Quiet, Wanted, patterns
from alerts.stream import Arrived
from market.messages import Alert
from portfolios.models import Portfolio

log = logging.getLogger(__name__)


class Notifier:
    """`noted` is called after notifications have been noted, so that they leave at once. `unnoted` is given, once each,
    the alerts that cannot be noted because the database is away.
    """

    name = "notifier"

    def __init__(
        self,
        noted: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        unnoted: Callable[[Sequence[Alert], datetime], object] = lambda alerts, now: None,
    ) -> None:
        self._noted = noted
        self._clock = clock
        self._unnoted = unnoted
        self._told: tuple[str, int, int] | None = None

    def place(self, log_id: str) -> Mapping[int, int]:
        kept = LogPlace.objects.filter(name=self.name, log=log_id).first()
        return _offsets(kept) if kept is not None else {}

    def take(self, log_id: str, batch: Sequence[Arrived], upto: Mapping[int, int]) -> None:
        try:
            self._note(log_id, batch, upto)
        except DatabaseError:
            # The same batch comes again until it can be noted.
            place = (log_id, batch[0].partition, batch[0].offset) if batch else None
            if place is not None and place != self._told:
                self._told = place
                self._unnoted([each.alert for each in batch], self._clock())
            raise

    def _note(self, log_id: str, batch: Sequence[Arrived], upto: Mapping[int, int]) -> None:
        LogPlace.objects.get_or_create(name=self.name)
        with transaction.atomic():
            # Locked for the transaction: a second notifier waits here, and then finds the batch done.
            place = LogPlace.objects.select_for_update().get(name=self.name)
            done = _offsets(place) if place.log == log_id else {}
            alerts = [each.alert for each in batch if each.offset >= done.get(each.partition, 0)]
            made = note(alerts, self._clock()) if alerts else 0
            place.log = log_id
            place.offsets = {
                str(partition): max(done.get(partition, 0), upto.get(partition, 0)) for partition in {*done, *upto}
            }
            place.save()
        if made:
            self._noted()


def note(alerts: Sequence[Alert], now: datetime) -> int:
    """Add `alerts` to the notifications of the rules that want them; how many were made or added to."""
    rules = wanted()
    if not rules:
        return 0
    owners = _owners(alerts)
    return sum(
        _tell(rule, group, until, now)
        for rule in rules
        for until, group in _by_hold(rule, [alert for alert in alerts if rule.wants(alert, owners)], now).items()
    )


def wanted() -> list[Wanted]:
    """The rules that can tell somebody something: enabled, of an active user, with a channel that is enabled."""
    found = (
        Rule.objects.filter(enabled=True, user__is_active=True, channels__enabled=True)
        .distinct()
        .select_related("user")
        .prefetch_related("portfolios", "channels")
    )
    return [
        Wanted(
            rule_id=rule.pk,
            user=rule.user_id,
            sees_all=rule.user.is_staff,
            since=rule.created_at,
            severity=rule.severity,
            types=patterns(rule.types),
            sources=patterns(rule.sources),
            portfolios=frozenset(portfolio.pk for portfolio in rule.portfolios.all()),
            channels=tuple(channel.pk for channel in rule.channels.all() if channel.enabled),
            min_interval=rule.min_interval,
            quiet=_quiet(rule),
            critical_passes=rule.critical_passes,
        )
        for rule in found
    ]


def _by_hold(rule: Wanted, alerts: Iterable[Alert], now: datetime) -> dict[datetime | None, list[Alert]]:
    """What may leave (None), and what is held until the end of the quiet hours."""
    groups: dict[datetime | None, list[Alert]] = {}
    for alert in alerts:
        groups.setdefault(rule.held_until(alert.severity, now), []).append(alert)
    return groups


def _tell(rule: Wanted, alerts: Sequence[Alert], held_until: datetime | None, now: datetime) -> int:
    """One waiting notification a channel: made if there is none, else added to."""
    row = Rule.objects.select_for_update().select_related("user").get(pk=rule.rule_id)
    held = held_until is not None
    # What was held and may leave by now takes in what comes: the rule's next notification is that one.
    waiting = {
        notification.channel_id: notification
        for notification in Notification.objects.select_for_update().filter(rule=row, outcome=Outcome.WAITING)
        if notification.held == held or (not held and (notification.next_attempt_at or now) <= now)
    }
    due = held_until or rule.next_due(now, row.last_due_at)
    for channel in row.channels.filter(pk__in=rule.channels):
        notification = waiting.get(channel.pk)
        if notification is None:
            notification = Notification(
                user=row.user,
                rule=row,
                channel=channel,
                rule_name=row.name,
                channel_name=channel.name,
                held=held,
                created_at=now,
                next_attempt_at=due,
            )
            if not held:
                Rule.objects.filter(pk=row.pk).update(last_due_at=due)
        notification.kinds = digest.added(notification.kinds, alerts)
        notification.alert_count += len(alerts)
        notification.severity = digest.worst((notification.severity or "info", *(a.severity for a in alerts)))
        notification.save()
    return len(rule.channels)


def _quiet(rule: Rule) -> Quiet | None:
    if rule.quiet_from is None or rule.quiet_until is None:
        return None
    return Quiet(rule.quiet_from, rule.quiet_until, str(rule.time_zone))


def _owners(alerts: Iterable[Alert]) -> dict[str, int]:
    ids = {digest.portfolio_of(alert) for alert in alerts} - {""}
    return dict(Portfolio.objects.filter(pk__in=ids).values_list("pk", "owner_id"))


def _offsets(place: LogPlace) -> dict[int, int]:
    return {int(partition): offset for partition, offset in place.offsets.items()}
