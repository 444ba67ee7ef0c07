"""The sample feed's story."""

from __future__ import annotations

from datetime import UTC, date, datetime
from itertools import islice

import pytest

from market.feeds.base import FeedError, Published
from market.feeds.sample import CODES, SampleFeed
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_units
from portfolios.kernel.rules import rules_for

END = date(2026, 10, 19)


def _ticks(feed: SampleFeed, days: int, since: Published | None = None) -> list[PriceUpdate]:
    batches = islice(feed.batches(since or Published()), days)
    return [tick for batch in batches for tick in batch.ticks]


@pytest.fixture(scope="module")
def story() -> list[PriceUpdate]:
    """All real days and three hundred beyond them."""
    return _ticks(SampleFeed(), 1888 + 300)


def test_the_first_days_are_the_real_closes(story: list[PriceUpdate]) -> None:
    first = next(tick for tick in story if tick.code == "600519.SH")
    assert first.price == first.open == first.high == first.low == first.close == 502.12
    assert first.prev_close == 492.12
    assert first.timestamp == datetime(2019, 1, 4, 7, 0, tzinfo=UTC)
    assert first.volume is None


def test_the_first_row_that_jumps_is_left_out(story: list[PriceUpdate]) -> None:
    """600519 on 2019-01-03: close 492.1154 after an unadjusted previous close of 325.182."""
    assert all(tick.timestamp.date() > date(2019, 1, 3) for tick in story if tick.code == "600519.SH")


def test_all_seven_codes_are_told_in_the_order_of_time(story: list[PriceUpdate]) -> None:
    assert {tick.code for tick in story} == set(CODES)
    assert [tick.timestamp for tick in story] == sorted(tick.timestamp for tick in story)


def test_it_goes_on_from_the_last_prices_within_limits_on_the_grid(story: list[PriceUpdate]) -> None:
    rules = rules_for("cn")
    last = {tick.code: tick.price for tick in story if tick.timestamp.date() <= END}
    beyond = [tick for tick in story if tick.timestamp.date() > END]
    assert len(beyond) == 300 * len(CODES)
    for tick in beyond:
        day = tick.timestamp.date()
        assert tick.prev_close == last[tick.code]
        low, high = rules.limits(tick.code, to_units(tick.prev_close), day) or (0, 0)
        assert low <= to_units(tick.price) <= high
        assert to_units(tick.price) % rules.tick_size(tick.code, day) == 0
        assert day.weekday() < 5
        last[tick.code] = tick.price
    assert len({tick.price for tick in beyond}) > 500


def test_a_restart_beyond_the_end_tells_the_same_story(story: list[PriceUpdate]) -> None:
    half = story[-100]
    told = _ticks(SampleFeed(), 5, Published(half.timestamp, {}, whole=True))
    expected = [tick for tick in story if tick.timestamp > half.timestamp]
    assert told == expected[: len(told)]


def test_the_story_of_a_code_does_not_depend_on_the_others(story: list[PriceUpdate]) -> None:
    alone = _ticks(SampleFeed(["000001.SZ"]), 1888 + 50)
    assert alone == [tick for tick in story if tick.code == "000001.SZ"][: len(alone)]


def test_a_code_that_the_sample_does_not_have_is_refused() -> None:
    with pytest.raises(FeedError, match=r"the sample has no 600000\.SH"):
        SampleFeed(["600000.SH"])
