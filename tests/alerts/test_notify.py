"""Alerts into notifications: merged, limited, held, and each counted once."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any

import pytest
from django.db import DatabaseError

from alerts import delivery, notify
from alerts.models import LogPlace, Notification, Rule
from alerts.notify import Notifier
from alerts.stream import Arrived
from market.messages import Alert
from tests.alerts import making
from tests.alerts.making import NOON, alert

pytestmark = pytest.mark.django_db

NOTHING: frozenset[int] = frozenset()


def note(*alerts: Alert, seconds: float = 0) -> None:
    notify.note(alerts, NOON + timedelta(seconds=seconds))


def waiting() -> list[Notification]:
    return list(Notification.objects.filter(outcome="waiting").order_by("next_attempt_at", "id"))


def leave(seconds: float = 0) -> None:
    """What is due by then leaves."""
    while delivery.claim(NOON + timedelta(seconds=seconds), NOTHING, NOTHING):
        pass


@pytest.fixture
def rule() -> Rule:
    owner = making.user()
    return making.rule(owner, making.channel(owner), min_interval=60)


def test_the_first_alert_leaves_at_once_and_what_comes_within_the_minute_together_after_it(rule: Rule) -> None:
    note(alert())
    assert [n.next_attempt_at for n in waiting()] == [NOON]
    leave()
    for second in range(1, 50):
        note(alert("node_offline" if second == 7 else "queue_full"), seconds=second)
    (later,) = waiting()
    assert later.next_attempt_at == NOON + timedelta(seconds=60)
    assert later.alert_count == 49
    assert {kind["alert_type"]: kind["count"] for kind in later.kinds} == {"queue_full": 48, "node_offline": 1}


def test_each_channel_of_a_rule_gets_its_own_record(rule: Rule) -> None:
    rule.channels.add(making.channel(rule.user, name="mail"))
    note(alert())
    assert {n.channel_name for n in waiting()} == {"hook", "mail"}


def test_rules_do_not_share_their_minute(rule: Rule) -> None:
    making.rule(rule.user, rule.channels.get(), name="second")
    note(alert())
    leave()
    note(alert(), seconds=1)
    assert [n.rule_name for n in waiting()] == ["all", "second"]


@pytest.mark.parametrize("change", [{"enabled": False}, {"severity": "critical"}, {"types": "data_gap"}])
def test_a_rule_that_does_not_want_it_is_told_nothing(rule: Rule, change: dict[str, Any]) -> None:
    Rule.objects.update(**change)
    note(alert())
    assert waiting() == []


def test_nobody_is_told_without_a_channel_or_when_no_longer_active(rule: Rule) -> None:
    rule.channels.update(enabled=False)
    note(alert())
    rule.channels.update(enabled=True)
    rule.user.is_active = False
    rule.user.save()
    note(alert())
    assert waiting() == []


def test_a_user_is_told_of_their_own_portfolios_only() -> None:
    mine, theirs = making.user("mine", staff=False), making.user("theirs", staff=False)
    making.portfolio(mine, "p-mine")
    making.portfolio(theirs, "p-theirs")
    making.rule(mine, making.channel(mine))
    note(alert(portfolio_id="p-mine"), alert(portfolio_id="p-theirs"), alert())
    (told,) = waiting()
    assert [kind["portfolio_id"] for kind in told.kinds] == ["p-mine"]


def test_quiet_hours_hold_all_but_the_critical_and_end_in_one_notification(rule: Rule) -> None:
    Rule.objects.update(quiet_from=time(11), quiet_until=time(13), time_zone="UTC", critical_passes=True)
    for minute in range(0, 60, 5):
        note(alert(), alert("node_offline", severity="critical"), seconds=minute * 60)
        leave(minute * 60)
    (held,) = waiting()
    assert (held.held, held.alert_count, held.next_attempt_at) == (True, 12, NOON.replace(hour=13))
    assert Notification.objects.filter(outcome="sending").count() == 12  # the critical ones

    note(alert("first_of_the_day"), seconds=3600)  # the hours are over, it has not left yet
    (same,) = waiting()
    assert (same.pk, same.alert_count) == (held.pk, 13)
    leave(3600)
    note(alert(), seconds=3601)
    assert waiting()[0].next_attempt_at == NOON + timedelta(seconds=3660)


def test_nothing_that_is_quiet_gets_into_what_leaves(rule: Rule) -> None:
    Rule.objects.update(quiet_from=time(11), quiet_until=time(13), time_zone="UTC", critical_passes=True)
    note(alert(severity="critical"))
    note(alert(severity="info"), seconds=1)
    assert [(n.held, n.severity) for n in waiting()] == [(False, "critical"), (True, "info")]


# -- the place in the log


def arrived(*offsets: int) -> list[Arrived]:
    return [Arrived(0, offset, alert()) for offset in offsets]


def test_what_is_read_twice_counts_once(rule: Rule) -> None:
    notifier = Notifier(lambda: None, lambda: NOON)
    notifier.take("log-1", arrived(0, 1, 2), {0: 3})
    notifier.take("log-1", arrived(1, 2, 3), {0: 4})
    assert waiting()[0].alert_count == 4
    assert notifier.place("log-1") == {0: 4}


def test_another_log_begins_at_its_beginning(rule: Rule) -> None:
    notifier = Notifier(lambda: None, lambda: NOON)
    notifier.take("log-1", arrived(0, 1, 2), {0: 3})
    assert notifier.place("log-2") == {}
    notifier.take("log-2", arrived(0), {0: 1})
    assert waiting()[0].alert_count == 4
    assert notifier.place("log-2") == {0: 1}


def test_a_place_is_kept_with_what_was_made_or_not_at_all(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    notifier = Notifier(lambda: None, lambda: NOON)
    LogPlace.objects.create(name=notifier.name)
    with monkeypatch.context() as broken:
        broken.setattr(LogPlace, "save", _away)
        with pytest.raises(DatabaseError):
            notifier.take("log-1", arrived(0), {0: 1})
    assert waiting() == []
    notifier.take("log-1", arrived(0), {0: 1})
    assert waiting()[0].alert_count == 1


def test_a_batch_takes_the_same_few_queries_however_long_it_is(rule: Rule, django_assert_max_num_queries: Any) -> None:
    with django_assert_max_num_queries(20):
        notify.note([alert(portfolio_id=f"p{n}") for n in range(500)], NOON)


def _away(*_: Any) -> None:
    raise DatabaseError("the server has gone away")
