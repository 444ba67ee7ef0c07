"""A table of trading days as sessions: which session a moment belongs to, without a clock or a time-zone lookup a tick.

Beyond either end of the table every weekday is a trading day; the first look beyond its end warns, once.
"""

from __future__ import annotations

import logging
from bisect import bisect_left
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo

from portfolios.kernel.rules.base import Session

log = logging.getLogger(__name__)

_DAY = timedelta(days=1)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_ORDINAL = _EPOCH.toordinal()


class Sessions:
    """Sessions of a market in `zone`. A session ends (for prices) `roll` after its day's midnight, local time, and
    closes (for orders) at `close`; it starts where the one before ended."""

    __slots__ = ("_by_ordinal", "_close", "_days", "_last", "_next", "_offset", "_roll", "_warned", "_zone")

    def __init__(self, zone: tzinfo, close: time, days: Sequence[date] = (), roll: timedelta = _DAY) -> None:
        self._zone = zone
        # Where the offset never changes, wall-clock time is UTC plus a constant.
        self._offset = zone.utcoffset(None) if isinstance(zone, timezone) else None
        self._close = timedelta(hours=close.hour, minutes=close.minute)
        self._roll = roll
        self._days = [day.toordinal() for day in days]
        self._by_ordinal: dict[int, Session] = {}
        self._next: dict[int, Session] = {}
        self._last: Session | None = None
        self._warned = False

    def at(self, timestamp: datetime) -> Session:
        last = self._last
        if last is not None:
            if last.start <= timestamp < last.end:
                return last
            following = self._next.get(last.ordinal)
            if following is not None and following.start <= timestamp < following.end:
                self._last = following
                return following
        utc = timestamp if timestamp.tzinfo is UTC else timestamp.astimezone(UTC)
        local = utc + self._offset if self._offset is not None else utc.astimezone(self._zone)
        # Less `roll`, plus a day: any moment before the roll is still that day's.
        session = self._session(self._first((local - self._roll + _DAY).toordinal()))
        if last is not None and last.end == session.start:
            self._next[last.ordinal] = session
        self._last = session
        return session

    def order(self, timestamp: datetime) -> Session:
        session = self.at(timestamp)
        return session if timestamp < session.close else self.after(session)

    def after(self, session: Session) -> Session:
        following = self._next.get(session.ordinal)
        if following is None:
            following = self._next[session.ordinal] = self._session(self._first(session.ordinal + 1))
        return following

    def on(self, day: date) -> Session:
        """The session of `day`, or of the first trading day after it."""
        return self._session(self._first(day.toordinal()))

    def _session(self, ordinal: int) -> Session:
        session = self._by_ordinal.get(ordinal)
        if session is None:
            session = self._by_ordinal[ordinal] = Session(
                day=date.fromordinal(ordinal),
                ordinal=ordinal,
                start=self._moment(self._last_before(ordinal), self._roll),
                close=self._moment(ordinal, self._close),
                end=self._moment(ordinal, self._roll),
            )
        return session

    def _moment(self, ordinal: int, after_midnight: timedelta) -> datetime:
        """A wall-clock time of a day, in UTC. A day of 23 hours still ends at its own midnight."""
        if self._offset is not None:
            return _EPOCH + timedelta(ordinal - _EPOCH_ORDINAL) + (after_midnight - self._offset)
        return (datetime.fromordinal(ordinal) + after_midnight).replace(tzinfo=self._zone).astimezone(UTC)

    def _first(self, ordinal: int) -> int:
        """The first trading day on or after a day."""
        days = self._days
        if days and days[0] <= ordinal <= days[-1]:
            return days[bisect_left(days, ordinal)]
        if days and ordinal > days[-1] and not self._warned:
            self._warned = True
            log.warning(
                "the table of trading days ends on %s: beyond it every weekday counts as one",
                date.fromordinal(days[-1]),
            )
        while date.fromordinal(ordinal).weekday() >= 5:
            ordinal += 1
        return ordinal

    def _last_before(self, ordinal: int) -> int:
        days = self._days
        if days and days[0] < ordinal <= days[-1] + 1:
            return days[bisect_left(days, ordinal) - 1]
        ordinal -= 1
        while date.fromordinal(ordinal).weekday() >= 5:
            ordinal -= 1
        return ordinal


class Tiled:
    """The part of a market's rules that answers for sessions."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        # The table's own methods, without a call in between: session_at is on the path of every daily bar.
        self.session_at = sessions.at
        self.session_on = sessions.on
        self.order_session = sessions.order

    def session_of(self, timestamp: datetime) -> date:
        return self._sessions.at(timestamp).day
