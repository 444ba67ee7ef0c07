"""Delivery: claimed once, tried again, and never held up by somebody else's server."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import pytest
from django.contrib.auth.models import User

from alerts import delivery, digest, notify
from alerts.couriers import Outcome
from alerts.delivery import PAUSES, Delivery, Job, claim, record
from alerts.models import Channel, Notification
from tests.alerts import making, servers
from tests.alerts.making import NOON, alert
from tests.support import eventually

NOTHING: frozenset[int] = frozenset()


def notification(channel: Channel, due: datetime = NOON) -> Notification:
    return Notification.objects.create(
        user=channel.user, channel=channel, channel_name=channel.name, severity="warning", created_at=due,
        next_attempt_at=due, kinds=digest.added([], [alert()]),
    )  # fmt: skip


@pytest.fixture
def owner(db: None) -> User:
    return making.user()


def test_what_is_due_is_claimed_once_the_oldest_first(owner: User) -> None:
    channel = making.channel(owner)
    late, early = notification(channel, NOON), notification(channel, NOON - timedelta(minutes=1))
    notification(channel, NOON + timedelta(seconds=1))
    jobs = [claim(NOON, NOTHING, NOTHING) for _ in range(3)]
    assert [job and job.notification_id for job in jobs] == [early.pk, late.pk, None]


def test_a_busy_channel_or_user_waits(owner: User) -> None:
    first = making.channel(owner)
    notification(first)
    other = notification(making.channel(making.user("other")))
    job = claim(NOON, frozenset({first.pk}), NOTHING)
    assert job is not None
    assert job.notification_id == other.pk
    assert claim(NOON, NOTHING, frozenset({owner.pk})) is None


def test_what_somebody_claimed_and_did_not_finish_is_tried_again(owner: User) -> None:
    notification(making.channel(owner))
    first = claim(NOON, NOTHING, NOTHING)
    assert claim(NOON + timedelta(seconds=30), NOTHING, NOTHING) is None
    second = claim(NOON + timedelta(minutes=5), NOTHING, NOTHING)
    assert first is not None
    assert second is not None
    assert (first.attempt, second.attempt) == (1, 2)
    record(first, Outcome(False, "too late"), NOON)  # its word does not count any more
    assert Notification.objects.get().outcome == "sending"


def test_it_is_tried_again_with_growing_pauses_and_then_has_failed(owner: User) -> None:
    made, now, pauses = notification(making.channel(owner)), NOON, []
    while (job := claim(now, NOTHING, NOTHING)) is not None:
        record(job, Outcome(False, "403"), now)
        made.refresh_from_db()
        if made.next_attempt_at is None:
            break
        pauses.append((made.next_attempt_at - now).total_seconds())
        now = made.next_attempt_at
    assert pauses == list(PAUSES) == sorted(PAUSES)
    assert (made.outcome, made.attempts, made.reason) == ("failed", len(PAUSES) + 1, "403")


def test_what_cannot_ever_be_sent_is_not_tried_again(owner: User) -> None:
    channel = making.channel(owner)
    made = notification(channel)
    channel.enabled = False
    channel.save()
    job = claim(NOON, NOTHING, NOTHING)
    assert job is not None
    record(job, delivery.perform(job, None), NOON)  # type: ignore[arg-type]
    made.refresh_from_db()
    assert (made.outcome, made.reason) == ("failed", "its channel is switched off")


@contextmanager
def delivering(timeout: float = 20.0) -> Iterator[Delivery]:
    stop = threading.Event()
    made = Delivery(stop, timeout=timeout)
    thread = threading.Thread(target=made.run, name="test_delivery")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        made.wake()
        thread.join(20)
        assert not thread.is_alive()


def outcome_of(made: Notification) -> str:
    made.refresh_from_db()
    return made.outcome


@pytest.mark.django_db(transaction=True)
def test_servers_that_never_answer_hold_up_nobody_else() -> None:
    greedy, modest = making.user("greedy"), making.user("modest")
    now = datetime.now(UTC)
    with servers.silent() as port, servers.webhook() as hook:
        stuck = [
            notification(making.channel(greedy, f"json://127.0.0.1:{port}/{n}?rto=60", f"stuck {n}"), now)
            for n in range(6)
        ]
        with delivering(timeout=4.0) as running:
            eventually(lambda: sum(outcome_of(each) == "sending" for each in stuck) == 2)  # half of the workers
            arriving = notification(making.channel(modest, hook.url), now)
            running.wake()
            eventually(lambda: outcome_of(arriving) == "sent", timeout=20)
            assert not [each for each in stuck if outcome_of(each) == "sent"]
            eventually(lambda: "retrying" in map(outcome_of, stuck), timeout=20)
    assert {each.reason for each in stuck if each.outcome == "retrying"} == {"no answer within 4 s"}
    assert len(hook.got) == 1


@pytest.mark.django_db(transaction=True)
def test_what_was_refused_arrives_when_the_server_takes_it_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "PAUSES", (1, 1, 1))
    owner = making.user()
    with servers.webhook() as hook:
        hook.status = 503
        making.rule(owner, making.channel(owner, hook.url))
        with delivering() as running:
            notify.note([alert(message="number one")], datetime.now(UTC))
            running.wake()
            made = Notification.objects.get()
            eventually(lambda: outcome_of(made) == "retrying", timeout=20)
            assert "503" in made.reason
            hook.status = 200
            eventually(lambda: outcome_of(made) == "sent", timeout=20)
    assert made.attempts >= 2
    assert made.sent_at is not None
    assert "number one" in hook.got[0]["message"]


@pytest.mark.django_db(transaction=True)
def test_a_test_message_is_sent_at_once_and_its_outcome_kept() -> None:
    owner = making.user()
    with servers.webhook() as hook:
        channel = making.channel(owner, hook.url)
        good = delivery.send_test(channel)
        hook.status = 403
        bad = delivery.send_test(channel)
    assert hook.titles == ["[info] test: Ginkgo Live"]
    assert (good.outcome, bad.outcome, "403" in bad.reason) == ("sent", "failed", True)
    assert Notification.objects.filter(is_test=True).count() == 2
    assert claim(datetime.now(UTC) + timedelta(days=2), NOTHING, NOTHING) is None  # a test is not tried again


def test_old_records_are_forgotten_but_never_one_that_is_to_be_sent(owner: User) -> None:
    old = datetime.now(UTC) - delivery.KEPT - timedelta(days=1)
    channel = making.channel(owner)
    for outcome in ("sent", "failed", "waiting", "retrying"):
        Notification.objects.filter(pk=notification(channel, old).pk).update(outcome=outcome)
    delivery.clean(datetime.now(UTC))
    assert {made.outcome for made in Notification.objects.all()} == {"waiting", "retrying"}


def test_a_job_says_what_is_sent_to_whom(owner: User) -> None:
    made = notification(making.channel(owner))
    assert claim(NOON, NOTHING, NOTHING) == Job(made.pk, made.channel_id, owner.pk, 1)
