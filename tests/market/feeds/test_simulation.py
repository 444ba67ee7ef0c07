"""The simulated market."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import islice

import pytest

from market.feeds.base import FeedError, Published
from market.feeds.simulation import SimulationFeed
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.money import to_units
from portfolios.kernel.rules import rules_for
from portfolios.kernel.rules.cn import SHANGHAI

CODES = [f"600{number:03d}.SH" for number in range(10)]
DAY = 4 * 3600 // 3 * len(CODES)


def _ticks(count: int, seed: int = 7, since: Published | None = None) -> list[PriceUpdate]:
    batches = SimulationFeed(CODES, seed=seed).batches(since or Published())
    return list(islice((tick for batch in batches for tick in batch.ticks), count))


@pytest.fixture(scope="module")
def days() -> list[PriceUpdate]:
    """More than two days of ten codes."""
    return _ticks(3 * DAY)


def test_a_seed_names_its_ticks() -> None:
    assert _ticks(2000) == _ticks(2000)
    assert _ticks(2000) != _ticks(2000, seed=8)


def test_time_never_runs_backwards_and_keeps_to_the_sessions(days: list[PriceUpdate]) -> None:
    times = [tick.timestamp for tick in days]
    assert times == sorted(times)
    clock = {tick.timestamp.astimezone(SHANGHAI).strftime("%H:%M") for tick in days}
    assert min(clock) == "09:30" and max(clock) == "14:59"
    assert not any("11:30" <= minute < "13:00" for minute in clock)
    assert len({time.date() for time in times}) >= 3


def test_prices_stay_within_limits_and_days_follow_from_closes(days: list[PriceUpdate]) -> None:
    rules = rules_for("cn")
    last: dict[str, PriceUpdate] = {}
    for tick in days:
        assert tick.prev_close is not None
        low, high = rules.limits(tick.code, to_units(tick.prev_close), tick.timestamp.date()) or (0, 0)
        assert low <= to_units(tick.price) <= high
        before = last.get(tick.code)
        if before is not None and before.timestamp.date() != tick.timestamp.date():
            assert tick.prev_close == before.price
        last[tick.code] = tick


def test_codes_fall_silent_and_markets_burst(days: list[PriceUpdate]) -> None:
    silences = Counter[str]()
    last: dict[str, PriceUpdate] = {}
    for tick in days:
        before = last.get(tick.code)
        same_day = before is not None and before.timestamp.date() == tick.timestamp.date()
        noon = before is not None and before.timestamp.hour < 4 <= tick.timestamp.hour
        if before is not None and same_day and not noon and tick.timestamp - before.timestamp > timedelta(minutes=1):
            silences[tick.code] += 1
        last[tick.code] = tick
    assert silences.total() > 10
    a_round = Counter(int(tick.timestamp.timestamp()) // 3 for tick in days)
    assert max(a_round.values()) == len(CODES) > min(a_round.values())


def test_after_a_restart_prices_and_time_go_on() -> None:
    before = _ticks(5000)
    last = {tick.code: tick for tick in before}
    after = _ticks(200, since=Published(before[-1].timestamp, last))
    assert after[0].timestamp > before[-1].timestamp
    for code in CODES:
        tick = next(t for t in after if t.code == code)
        assert abs(tick.price / last[code].price - 1) < 0.02
        assert tick.prev_close == last[code].prev_close


def test_it_is_paced_by_its_rate_and_not_by_its_codes() -> None:
    batches = list(islice(SimulationFeed(CODES, rate=500).batches(Published()), 100))
    assert sum(len(batch.ticks) for batch in batches) / sum(batch.after for batch in batches) == pytest.approx(500)


def test_a_market_without_rules_is_refused() -> None:
    with pytest.raises(FeedError, match="A-shares"):
        SimulationFeed(["AAPL.US"])
