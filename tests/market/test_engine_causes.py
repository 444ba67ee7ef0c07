"""What an order is worth is known from the first one on: by the price it was decided on, read from the log."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from confluent_kafka import KafkaException

from market.bus import make_consumer
from market.engine.books import Books
from market.engine.causes import Causes
from market.engine.intake import Intake
from market.pretrade import Limits
from portfolios.kernel.money import to_units
from tests.market.desk_support import NOW, Prices, Weekdays, make_portfolio, submission
from tests.market.log_support import Feed
from tests.support.stack import RunningStack

pytestmark = [pytest.mark.servers, pytest.mark.django_db]
CODE = "600519.SH"
ANYBODY = "3f2c9f5e-6d4b-4a53-9a36-0c7f1f0a1b2c"


@pytest.fixture
def feed(topics: RunningStack) -> Feed:
    return Feed(datetime(2024, 3, 5, 2, 0, tzinfo=UTC))


def causes() -> Causes:
    return Causes(lambda: make_consumer("test-causes"))


def test_a_first_market_order_is_judged_by_the_price_behind_it(feed: Feed) -> None:
    cheap, dear = feed.tick(CODE, 9.99), feed.tick(CODE, 10.01)
    limits = Limits(max_orders_per_minute=600, max_order_value=to_units(1000), max_daily_turnover=to_units(10**6))
    intake = Intake(Books(Weekdays()), limits, Prices(), "simulation", causes())
    made = make_portfolio()
    orders = [submission(made, cause=f"{place}:0", timestamp=feed.now) for place in (dear, cheap)]
    reasons = []
    for each in orders:
        intake.look_up([each])
        reasons += [taken.reason for taken in intake.take([each], NOW)]
    assert reasons == ["order_value", ""]
    blind = Intake(Books(Weekdays()), limits, Prices(), "simulation")
    assert blind.take([submission(made, cause=f"{dear}:1", timestamp=feed.now)], NOW)[0].reason == ""


def test_only_a_price_of_its_own_code_counts(feed: Feed) -> None:
    other = feed.tick("000001.SZ", 7.0)
    topic, partition, _ = other.rsplit(":", 2)
    wanted = causes()
    for place in (other, f"{topic}:{partition}:999999999", "ginkgo.live.control.commands:0:0"):
        wanted.learn([submission(ANYBODY, cause=f"{place}:0")])
        wanted._not_before = float("-inf")
        assert wanted.quote(CODE) is None


def test_a_log_that_does_not_answer_is_left_alone_for_a_while() -> None:
    asked = []

    def away() -> None:
        asked.append(1)
        raise KafkaException("away")

    silent = Causes(away)  # type: ignore[arg-type]
    silent.learn([submission(ANYBODY), submission(ANYBODY)])
    assert (asked, silent.quote(CODE)) == ([1], None)
