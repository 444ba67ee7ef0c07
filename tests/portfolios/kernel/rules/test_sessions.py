"""Sessions tile time: every moment belongs to one, and orders after a close are good for the next."""

from __future__ import annotations

import logging
from datetime import UTC, date, datetime, time, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.cn import SHANGHAI
from portfolios.kernel.rules.sessions import Sessions

MOMENTS = st.integers(0, 90 * 86_400).map(lambda seconds: datetime(2024, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds))
HOLIDAY_WEEK = [date(2024, 2, 7), date(2024, 2, 8), date(2024, 2, 19), date(2024, 2, 20)]


def shanghai(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=SHANGHAI).astimezone(UTC)


@pytest.mark.parametrize(
    ("moment", "price_day", "order_day"),
    [
        ("2024-01-02 00:00:00", date(2024, 1, 2), date(2024, 1, 2)),
        ("2024-01-02 14:59:59", date(2024, 1, 2), date(2024, 1, 2)),
        ("2024-01-02 15:00:00", date(2024, 1, 2), date(2024, 1, 3)),
        ("2024-01-02 23:59:59", date(2024, 1, 2), date(2024, 1, 3)),
        ("2024-01-05 15:00:00", date(2024, 1, 5), date(2024, 1, 8)),
        ("2024-01-06 12:00:00", date(2024, 1, 8), date(2024, 1, 8)),
    ],
)
def test_the_close_is_still_its_days_price_but_the_next_sessions_order(moment, price_day, order_day):
    rules = rules_for("cn")
    assert rules.session_of(shanghai(moment)) == price_day
    assert rules.order_session(shanghai(moment)).day == order_day


def test_holidays_of_the_table_are_skipped():
    rules = rules_for("cn", HOLIDAY_WEEK)
    assert rules.order_session(shanghai("2024-02-08 15:00:00")).day == date(2024, 2, 19)
    assert rules.session_of(shanghai("2024-02-12 10:00:00")) == date(2024, 2, 19)


def test_beyond_the_table_weekdays_count_and_one_warning_says_so(caplog):
    rules = rules_for("cn", HOLIDAY_WEEK)
    with caplog.at_level(logging.WARNING):
        assert rules.session_of(shanghai("2024-02-24 10:00:00")) == date(2024, 2, 26)
        assert rules.session_of(shanghai("2024-03-05 10:00:00")) == date(2024, 3, 5)
    assert [record.getMessage() for record in caplog.records] == [
        "the table of trading days ends on 2024-02-20: beyond it every weekday counts as one"
    ]


def test_an_american_day_ends_at_new_yorks_midnight_in_winter_and_in_summer():
    rules = rules_for("us")
    assert rules.session_of(datetime(2024, 1, 3, 4, 59, tzinfo=UTC)) == date(2024, 1, 2)
    assert rules.session_of(datetime(2024, 1, 3, 5, 0, tzinfo=UTC)) == date(2024, 1, 3)
    assert rules.session_of(datetime(2024, 7, 3, 3, 59, tzinfo=UTC)) == date(2024, 7, 2)
    assert rules.session_of(datetime(2024, 7, 3, 4, 0, tzinfo=UTC)) == date(2024, 7, 3)
    assert rules.session_on(date(2024, 7, 3)).close == datetime(2024, 7, 3, 20, 0, tzinfo=UTC)


def test_a_night_session_belongs_to_the_next_trading_day():
    rules = rules_for("futures")
    assert rules.session_of(shanghai("2024-01-05 15:15:00")) == date(2024, 1, 5)
    assert rules.session_of(shanghai("2024-01-05 21:00:00")) == date(2024, 1, 8)
    assert rules.session_of(shanghai("2024-01-06 01:00:00")) == date(2024, 1, 8)


@settings(max_examples=60, deadline=None)
@given(st.lists(MOMENTS, min_size=1, max_size=8))
@pytest.mark.parametrize("zone", ["cn", "us", "futures"])
def test_every_moment_lies_within_exactly_one_session_in_whatever_order_it_is_asked_for(zone, moments):
    rules = rules_for(zone, HOLIDAY_WEEK if zone == "cn" else ())
    for moment in moments:
        session = rules.session_at(moment)
        assert session.start <= moment < session.end
        assert rules.session_on(session.day) == session
        assert session.start < session.close < session.end
        after = rules.session_on(session.day + timedelta(days=1))
        assert after.start == session.end


def test_the_cached_neighbour_is_found_again():
    sessions = Sessions(SHANGHAI, time(15, 0))
    days = [sessions.at(shanghai(f"2024-01-{number:02} 10:00:00")).day.day for number in (2, 3, 4, 2, 4, 3)]
    assert days == [2, 3, 4, 2, 4, 3]
