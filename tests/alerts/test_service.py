"""The whole of it on real servers: Kafka in, MongoDB and a webhook out."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from alerts import queries, service
from alerts.models import Notification
from alerts.queries import Question
from alerts.store import AlertStore
from market import bus, topics
from market.alerting import Alerter
from market.messages import Alert, encode
from market.topic_admin import create_topics
from tests.alerts import making, servers
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.servers, pytest.mark.django_db(transaction=True)]


@pytest.fixture(autouse=True)
def _topics(stack: RunningStack) -> None:
    create_topics()


@pytest.fixture
def store() -> Iterator[AlertStore]:
    made = AlertStore()
    yield made
    made.close()


@contextmanager
def running() -> Iterator[threading.Thread]:
    stop = threading.Event()
    failed: list[BaseException] = []

    def work() -> None:
        try:
            service.run_alerts(stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="test_alerts")
    thread.start()
    try:
        yield thread
    finally:
        stop.set()
        thread.join(30)
        assert not thread.is_alive()
    assert not failed, failed


def _alert(source: str, alert_type: str, number: int, severity: Any = "warning") -> Alert:
    return Alert(
        timestamp=datetime.now(UTC), alert_id=str(uuid4()), alert_type=alert_type, severity=severity, source=source,
        message=f"number {number}", details={"number": number},
    )  # fmt: skip


def test_a_storm_is_stored_whole_listed_in_few_lines_and_told_seldom(store: AlertStore) -> None:
    source = f"storm-{uuid4().hex[:6]}"
    storm = [_alert(source, f"rare_{n}" if n % 250 == 0 else "queue_full", n) for n in range(3000)]
    producer = bus.make_producer("test.storm", linger_ms=5)
    with servers.webhook() as hook:
        owner = making.user()
        making.rule(owner, making.channel(owner, hook.url), sources=source, min_interval=3)
        with running():
            for each in (*storm, *storm[:500]):  # some of it twice, as a producer's retry or a re-read would
                producer.produce(topics.ALERTS, key=source, value=encode(each))
                producer.poll(0)
            producer.produce(topics.ALERTS, key=source, value=b"no json")
            assert producer.flush(30) == 0

            eventually(
                lambda: queries.ask(store, Question(source=source, each=True, limit=1)).total_count == 3000, timeout=60
            )
            eventually(lambda: sum(n.alert_count for n in _sent(source)) >= 3000, timeout=60)

    listed = queries.ask(store, Question(source=source))
    assert listed.total_count == 13
    assert sorted(each["count"] for each in listed.alerts) == [1] * 12 + [2988]
    moments = sorted(n.sent_at for n in _sent(source) if n.sent_at)
    # By their number: how long one takes to be delivered is not its rule's affair.
    assert len(moments) <= 2 + (moments[-1] - moments[0]).total_seconds() / 3, moments
    told = {(k["alert_type"], k["source"]) for n in _sent(source) for k in n.kinds}
    assert len(told) == 13
    assert len(hook.got) == len(moments)


def test_what_is_raised_while_mongodb_is_away_is_told_at_once_and_stored_when_it_is_back(
    stack: RunningStack, store: AlertStore
) -> None:
    source = f"away-{uuid4().hex[:6]}"
    alerter = Alerter(source, bus.make_producer("test.away"))
    with servers.webhook() as hook:
        owner = making.user()
        making.rule(owner, making.channel(owner, hook.url), sources=source, min_interval=1)
        with running():
            alerter.raise_alert("queue_full", "critical", "before")
            eventually(lambda: queries.ask(store, Question(source=source)).total_count == 1, timeout=30)
            os.kill(stack.processes()["mongodb"], signal.SIGKILL)
            alerter.raise_alert("queue_full", "critical", "while away")
            eventually(lambda: any("while away" in m["message"] for m in hook.got), timeout=30)
            eventually(lambda: _total(store, source) == 2, timeout=60, saying="MongoDB back, and all of it stored")


def test_who_starts_again_goes_on_where_it_was(store: AlertStore) -> None:
    source = f"again-{uuid4().hex[:6]}"
    alerter = Alerter(source, bus.make_producer("test.again"))
    with servers.webhook() as hook:
        owner = making.user()
        making.rule(owner, making.channel(owner, hook.url), sources=source, min_interval=1)
        with running():
            alerter.raise_alert("queue_full", "critical", "first")
            eventually(lambda: len(hook.got) == 1 and _total(store, source) == 1, timeout=30)
        alerter.raise_alert("queue_full", "critical", "second")
        with running():
            eventually(lambda: len(hook.got) == 2 and _total(store, source) == 2, timeout=30)
    assert "second" in hook.got[1]["message"]
    assert "first" not in hook.got[1]["message"]


def _total(store: AlertStore, source: str) -> int:
    try:
        return queries.ask(store, Question(source=source, each=True)).total_count
    except Exception as error:
        raise AssertionError(str(error)) from None


def _sent(source: str) -> list[Notification]:
    return list(Notification.objects.filter(outcome="sent", rule__sources=source))
