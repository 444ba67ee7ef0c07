"""Delivers notifications: claimed by a conditional UPDATE, sent by couriers, tried again with growing pauses.

A few workers at once, one delivery a channel, half of the workers a user at most: a server that never answers holds up
its own channel for the time of a delivery, and nothing else.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from django.db import DatabaseError, close_old_connections, transaction
from django.db.models import F, Q

from alerts import digest
from alerts.channels import reveal
from alerts.couriers import TIMEOUT, Courier, Message, Outcome
from alerts.errors import Unreadable
from alerts.models import Channel, Notification, Rule
from alerts.models.notification import Outcome as State

log = logging.getLogger(__name__)

WORKERS = 4
PAUSES = (10, 30, 120, 300, 900, 1800, 3600)
"""Seconds after each attempt that failed until the next; after the last of them a notification has failed."""
KEPT = timedelta(days=30)
_LOOK_EVERY = 1.0
_IDLE = 60.0
_CLEAN_EVERY = 3600.0
# What is claimed is sent by then, or whoever claimed it is gone.
_CLAIM = timedelta(seconds=TIMEOUT + 40)


@dataclass(frozen=True)
class Job:
    """A claimed notification. `attempt`: which one this is, from 1."""

    notification_id: int
    channel_id: int | None
    user_id: int
    attempt: int


def claim(now: datetime, busy_channels: frozenset[int], busy_users: frozenset[int]) -> Job | None:
    """The notification that is due the longest and that nobody is sending; None if there is none. Now it is ours."""
    due = Q(outcome__in=(State.WAITING, State.RETRYING), next_attempt_at__lte=now) | Q(
        outcome=State.SENDING, claimed_until__lt=now
    )
    found = (
        Notification.objects.filter(due)
        .exclude(channel_id__in=busy_channels)
        .exclude(user_id__in=busy_users)
        .order_by("next_attempt_at", "id")
        .first()
    )
    if found is None:
        return None
    with transaction.atomic():
        ours = Notification.objects.filter(due, pk=found.pk, attempts=found.attempts).update(
            outcome=State.SENDING, claimed_until=now + _CLAIM, attempts=F("attempts") + 1
        )
        if ours and found.held and found.rule_id is not None:
            # It leaves now: the rule's next one keeps its distance from this.
            Rule.objects.filter(pk=found.rule_id).update(last_due_at=now)
    if not ours:
        return None
    return Job(found.pk, found.channel_id, found.user_id, found.attempts + 1)


def perform(job: Job, courier: Courier) -> Outcome:
    """Send what was claimed; says nothing of it to the database."""
    notification = Notification.objects.select_related("channel").get(pk=job.notification_id)
    channel = notification.channel
    if channel is None:
        return Outcome(False, "its channel is gone", final=True)
    if not channel.enabled:
        return Outcome(False, "its channel is switched off", final=True)
    try:
        url = reveal(channel)
    except Unreadable as error:
        return Outcome(False, str(error), final=True)
    return courier.deliver(url, message_of(notification))


def record(job: Job, outcome: Outcome, now: datetime) -> None:
    """What became of it: sent, to be tried again, or failed."""
    change: dict[str, object] = {"reason": outcome.reason[:500], "claimed_until": None}
    if outcome.sent:
        change |= {"outcome": State.SENT, "sent_at": now, "next_attempt_at": None}
    elif job.attempt <= len(PAUSES) and not outcome.final:
        pause = timedelta(seconds=PAUSES[job.attempt - 1])
        change |= {"outcome": State.RETRYING, "next_attempt_at": now + pause}
    else:
        change |= {"outcome": State.FAILED, "next_attempt_at": None}
    # By its attempt: whoever took it over after our claim had run out knows better.
    Notification.objects.filter(pk=job.notification_id, attempts=job.attempt).update(**change)
    if change["outcome"] == State.FAILED:
        log.error("Notification %d has failed for good: %s", job.notification_id, outcome.reason)
    elif not outcome.sent:
        log.warning("Notification %d was not sent, trying again: %s", job.notification_id, outcome.reason)


def message_of(notification: Notification) -> Message:
    if notification.is_test:
        text = f"A test of channel {notification.channel_name}: alerts of Ginkgo Live reach you here."
        return Message("[info] test: Ginkgo Live", text, "info")
    return Message(digest.title(notification.kinds), digest.body(notification.kinds), notification.severity)


def send_test(channel: Channel, timeout: float = TIMEOUT) -> Notification:
    """Send a test message by one channel, here and now, once; the notification with its outcome."""
    now = datetime.now(UTC)
    notification = Notification.objects.create(
        user=channel.user,
        channel=channel,
        channel_name=channel.name,
        severity="info",
        is_test=True,
        outcome=State.SENDING,
        attempts=1,
        created_at=now,
        claimed_until=now + timedelta(days=1),  # a test is not tried again
    )
    courier = Courier(timeout)
    try:
        outcome = courier.deliver(reveal(channel), message_of(notification))
    except Unreadable as error:
        outcome = Outcome(False, str(error))
    finally:
        courier.close()
    notification.outcome = State.SENT if outcome.sent else State.FAILED
    notification.reason, notification.claimed_until = outcome.reason, None
    notification.sent_at = datetime.now(UTC) if outcome.sent else None
    notification.save()
    return notification


def clean(now: datetime) -> None:
    """Forget what was sent, or failed, a month ago."""
    Notification.objects.filter(created_at__lt=now - KEPT, outcome__in=(State.SENT, State.FAILED)).delete()


class Delivery:
    """The thread that claims (`run`) and the workers that send."""

    def __init__(
        self,
        stop: threading.Event,
        workers: int = WORKERS,
        timeout: float = TIMEOUT,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._stop = stop
        self._clock = clock
        self._wake = threading.Event()
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._under_way: list[Job] = []
        self._couriers = [Courier(timeout) for _ in range(workers)]
        self._threads = [
            threading.Thread(target=self._work, args=(courier,), name=f"alerts_courier_{number}", daemon=True)
            for number, courier in enumerate(self._couriers, 1)
        ]
        self._cleaned = time.monotonic()

    def wake(self) -> None:
        """There is something to send."""
        self._wake.set()

    def run(self) -> None:
        for thread in self._threads:
            thread.start()
        said = float("-inf")
        try:
            while not self._stop.is_set():
                self._wake.clear()
                try:
                    while self.step():
                        pass
                    self._clean()
                except DatabaseError as error:
                    if time.monotonic() - said > 60:
                        said = time.monotonic()
                        log.warning("Notifications wait for the database: %s", error)
                    close_old_connections()
                self._wake.wait(_LOOK_EVERY)
        finally:
            # A delivery that is under way is cut off: it is claimed, and is tried again by whoever comes next.
            for courier in self._couriers:
                courier.close()
            for _ in self._threads:
                self._jobs.put(None)
            for thread in self._threads:
                thread.join(5)

    def step(self) -> bool:
        """Claim one notification if a worker is free; whether it did."""
        with self._lock:
            under_way = list(self._under_way)
        if self._stop.is_set() or len(under_way) >= len(self._threads):
            return False
        if dead := [thread.name for thread in self._threads if not thread.is_alive()]:
            raise RuntimeError(f"thread {dead[0]} has died")
        each = [job.user_id for job in under_way]
        most = max(1, len(self._threads) // 2)
        job = claim(
            self._clock(),
            frozenset(job.channel_id for job in under_way if job.channel_id is not None),
            frozenset(user for user in each if each.count(user) >= most),
        )
        if job is None:
            return False
        with self._lock:
            self._under_way.append(job)
        self._jobs.put(job)
        return True

    def _work(self, courier: Courier) -> None:
        try:
            while True:
                try:
                    job = self._jobs.get(timeout=_IDLE)
                except queue.Empty:
                    courier.rest()
                    close_old_connections()
                    continue
                if job is None:
                    return
                try:
                    self._deliver(job, courier)
                finally:
                    with self._lock:
                        self._under_way.remove(job)
                    self._wake.set()
        finally:
            close_old_connections()

    def _deliver(self, job: Job, courier: Courier) -> None:
        try:
            close_old_connections()
            outcome = perform(job, courier)
        except (DatabaseError, Notification.DoesNotExist) as error:
            log.warning("Notification %d is left to the next attempt: %s", job.notification_id, error)
            return None
        except Exception as error:
            log.exception("Notification %d cannot be sent", job.notification_id)
            outcome = Outcome(False, f"{type(error).__name__}: see the log of 'ginkgo alerts run'")
        while True:
            try:
                return record(job, outcome, self._clock())
            except DatabaseError as error:
                log.warning("The outcome of notification %d waits: %s", job.notification_id, error)
                close_old_connections()
                if self._stop.wait(2):
                    return None

    def _clean(self) -> None:
        if time.monotonic() - self._cleaned > _CLEAN_EVERY:
            self._cleaned = time.monotonic()
            clean(self._clock())
