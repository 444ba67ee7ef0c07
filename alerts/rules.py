"""Does a rule want this alert, and when may it be told? Pure: `now` is an argument, and rules are plain values."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from zoneinfo import ZoneInfo

from alerts.digest import at_least, portfolio_of
from market.messages import Alert


@dataclass(frozen=True)
class Quiet:
    """From `start` until `end` by the clock of `zone`; past midnight where `end` is the earlier one."""

    start: time
    end: time
    zone: str

    def until(self, now: datetime) -> datetime | None:
        """When the quiet hours that `now` is in are over (UTC); None if it is in none."""
        local = now.astimezone(ZoneInfo(self.zone))
        clock = local.time().replace(tzinfo=None)
        if self.start < self.end:
            within, days = self.start <= clock < self.end, 0
        else:
            within = (clock >= self.start or clock < self.end) and self.start != self.end
            days = 1 if clock >= self.start else 0
        if not within:
            return None
        over = datetime.combine(local.date() + timedelta(days=days), self.end, ZoneInfo(self.zone)).astimezone(UTC)
        # The hour that a clock put back has twice is quiet once: its end must lie ahead.
        return over if over > now else over + timedelta(hours=1)


@dataclass(frozen=True)
class Wanted:
    """A rule as it is weighed. `user` and `sees_all`: whose it is and whether they see what is not their own."""

    rule_id: int
    user: int
    sees_all: bool
    since: datetime
    severity: str
    types: tuple[str, ...]
    sources: tuple[str, ...]
    portfolios: frozenset[str]
    channels: tuple[int, ...]
    min_interval: int
    quiet: Quiet | None
    critical_passes: bool

    def wants(self, alert: Alert, owners: Mapping[str, int]) -> bool:
        """Whether its user is to hear of it; `owners`: portfolio → user."""
        portfolio = portfolio_of(alert)
        return (
            alert.severity in at_least(self.severity)
            and alert.timestamp >= self.since
            and (self.sees_all or (portfolio != "" and owners.get(portfolio) == self.user))
            and (not self.portfolios or portfolio in self.portfolios)
            and _fits(alert.alert_type, self.types)
            and _fits(alert.source, self.sources)
        )

    def held_until(self, severity: str, now: datetime) -> datetime | None:
        """The end of the quiet hours that keep an alert of this severity back; None: it may leave."""
        if self.quiet is None or (severity == "critical" and self.critical_passes):
            return None
        return self.quiet.until(now)

    def next_due(self, now: datetime, last_due: datetime | None) -> datetime:
        """When the rule's next notification may leave."""
        return now if last_due is None else max(now, last_due + timedelta(seconds=self.min_interval))


def patterns(text: str) -> tuple[str, ...]:
    """`queue_full, data_*` as its pieces."""
    return tuple(piece for piece in re.split(r"[,\s]+", text) if piece)


def _fits(value: str, wanted: tuple[str, ...]) -> bool:
    return not wanted or any(fnmatchcase(value, pattern) for pattern in wanted)
