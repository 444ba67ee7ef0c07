"""Tells critical alerts while the database is away: by the rules as last known, without a record, and told again after.

That the database is away is itself such an alert, and the one that nobody would hear of otherwise.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from django.db import DatabaseError, close_old_connections

from alerts import digest
from alerts.channels import reveal
from alerts.couriers import TIMEOUT, Courier, Message
from alerts.errors import Unreadable
from alerts.models import Channel
from alerts.rules import Wanted
from market.alerting import Throttle
from market.messages import Alert
from portfolios.models import Portfolio

log = logging.getLogger(__name__)

REFRESH = 60.0
_WORKERS = 2
_MOST = 100


@dataclass(frozen=True)
class Known:
    """Rules, the addresses of their channels, and whose each portfolio is, as of one moment."""

    rules: Sequence[Wanted] = ()
    addresses: Mapping[int, tuple[str, str]] = field(default_factory=dict, repr=False)
    """Channel → (name, address)."""
    owners: Mapping[str, int] = field(default_factory=dict)


class Emergency:
    """`tell` returns at once; `run` keeps what is known fresh, and its workers send."""

    def __init__(
        self,
        stop: threading.Event,
        rules: Callable[[], Sequence[Wanted]],
        timeout: float = TIMEOUT,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._stop = stop
        self._rules = rules
        self._known = Known()
        self._throttle = Throttle(clock)
        self._jobs: queue.Queue[tuple[str, str, Message]] = queue.Queue(_MOST)
        self._couriers = [Courier(timeout) for _ in range(_WORKERS)]

    def tell(self, alerts: Sequence[Alert], now: datetime) -> int:
        """Send the critical ones of `alerts` to whom they concern; how many messages that is. Never waits."""
        critical = [alert for alert in alerts if alert.severity == "critical"]
        known, sent = self._known, 0
        for rule in known.rules if critical else ():
            chosen = [alert for alert in critical if rule.wants(alert, known.owners)]
            if not chosen or rule.held_until("critical", now) is not None:
                continue
            if not self._throttle.allows(str(rule.rule_id), rule.min_interval):
                continue
            kinds = digest.added([], chosen)
            text = f"{digest.body(kinds)}\n\nThe database is away: this is told without a record, and told again later."
            message = Message(digest.title(kinds), text, "critical")
            for channel in rule.channels:
                name, address = known.addresses.get(channel, ("", ""))
                if not address:
                    continue
                try:
                    self._jobs.put_nowait((name, address, message))
                    sent += 1
                except queue.Full:
                    log.error("An alert by channel %s is left out: too many are under way", name)
        return sent

    def refresh(self) -> None:
        """Learn the rules anew. Raises DatabaseError."""
        rules = self._rules()
        channels = Channel.objects.filter(pk__in={channel for rule in rules for channel in rule.channels})
        addresses = {}
        for channel in channels:
            try:
                addresses[channel.pk] = (channel.name, reveal(channel))
            except Unreadable as error:
                log.warning("%s", error)
        theirs = {rule.user for rule in rules if not rule.sees_all}
        owners = dict(Portfolio.objects.filter(owner_id__in=theirs).values_list("pk", "owner_id")) if theirs else {}
        self._known = Known(rules, addresses, owners)

    def run(self) -> None:
        threads = [
            threading.Thread(target=self._work, args=(courier,), name=f"alerts_emergency_{number}", daemon=True)
            for number, courier in enumerate(self._couriers, 1)
        ]
        for thread in threads:
            thread.start()
        try:
            while not self._stop.is_set():
                try:
                    self.refresh()
                except DatabaseError as error:
                    log.debug("The rules stay as they were known: %s", error)
                close_old_connections()
                self._stop.wait(REFRESH)
        finally:
            for courier in self._couriers:
                courier.close()
            for thread in threads:
                thread.join(5)

    def _work(self, courier: Courier) -> None:
        while not self._stop.is_set():
            try:
                name, address, message = self._jobs.get(timeout=0.5)
            except queue.Empty:
                continue
            outcome = courier.deliver(address, message)
            courier.rest()
            if outcome.sent:
                log.warning("The database is away: %s was told by %s", message.title, name)
            else:
                log.error("The database is away, and %s was not told by %s: %s", message.title, name, outcome.reason)
