"""While the database is away: the first critical alerts are told by the rules as last known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import time

import pytest
from django.db import DatabaseError

from alerts import notify
from alerts.emergency import Emergency
from alerts.models import LogPlace, Notification, Rule
from alerts.notify import Notifier, wanted
from alerts.stream import Arrived
from market.messages import Alert
from tests.alerts import making, servers
from tests.alerts.making import NOON, alert
from tests.support import eventually

pytestmark = pytest.mark.django_db(transaction=True)


@contextmanager
def ready() -> Iterator[Emergency]:
    stop = threading.Event()
    made = Emergency(stop, wanted)
    made.refresh()
    thread = threading.Thread(target=made.run, name="test_emergency")
    thread.start()
    try:
        yield made
    finally:
        stop.set()
        thread.join(20)
        assert not thread.is_alive()


def critical(message: str = "checkpoints cannot be written") -> Alert:
    return alert("database_unavailable", severity="critical", message=message)


def test_that_the_database_is_away_is_told_once_and_noted_when_it_is_back(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = making.user()
    batch = [Arrived(0, 0, alert()), Arrived(0, 1, critical())]
    with servers.webhook() as hook:
        making.rule(owner, making.channel(owner, hook.url))
        LogPlace.objects.create(name=Notifier.name)
        with ready() as emergency:
            notifier = Notifier(lambda: None, lambda: NOON, emergency.tell)
            with monkeypatch.context() as broken:
                broken.setattr(notify, "note", _away)
                for _ in range(3):  # as the reader tries again
                    with pytest.raises(DatabaseError):
                        notifier.take("log", batch, {0: 2})
            eventually(lambda: hook.got, timeout=20)
            notifier.take("log", batch, {0: 2})
    assert hook.titles == ["[critical] database_unavailable: node-1"]
    assert "The database is away" in hook.got[0]["message"]
    assert Notification.objects.get().alert_count == 2


def test_only_whom_it_concerns_and_at_most_one_in_the_rules_interval() -> None:
    owner, other = making.user(), making.user("other", staff=False)
    making.portfolio(other, "p-other")
    with servers.webhook() as hook:
        making.rule(owner, making.channel(owner, hook.url))
        making.rule(other, making.channel(other, hook.url))
        with ready() as emergency:
            assert emergency.tell([alert()], NOON) == 0  # not critical
            assert emergency.tell([critical()], NOON) == 1  # the platform's: staff
            assert emergency.tell([critical()], NOON) == 0  # within the interval
            assert emergency.tell([alert(severity="critical", portfolio_id="p-other")], NOON) == 1  # its owner
            eventually(lambda: len(hook.got) == 2, timeout=20)


def test_quiet_hours_are_kept_where_the_rule_wants_that() -> None:
    owner = making.user()
    making.rule(owner, making.channel(owner), quiet_from=time(11), quiet_until=time(13), critical_passes=False)
    emergency = Emergency(threading.Event(), wanted)
    emergency.refresh()
    assert emergency.tell([critical()], NOON) == 0
    Rule.objects.update(critical_passes=True)
    emergency.refresh()
    assert emergency.tell([critical()], NOON) == 1


def test_no_address_is_shown_by_what_is_known() -> None:
    owner = making.user()
    making.rule(owner, making.channel(owner, "jsons://hooks.example.com/token-of-the-hook"))
    emergency = Emergency(threading.Event(), wanted)
    emergency.refresh()
    assert "token-of-the-hook" not in repr(emergency._known)


def _away(*_: object) -> int:
    raise DatabaseError("the server has gone away")
