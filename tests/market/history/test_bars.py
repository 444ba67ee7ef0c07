"""The bars that history keeps are those that strategies see."""

from __future__ import annotations

import random
from datetime import timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from market.history.bars import BarMaker
from market.history.rows import Row, Stand, micros
from market.history.schema import BARS
from market.messages import PriceUpdate
from portfolios.kernel.bars import BarBuilder
from portfolios.kernel.rules import rules_for
from tests.market.history.samples import CODE, OTHER, at, price, stand

RULES = rules_for("cn")


def maker(saved: dict[str, bytes] | None = None) -> BarMaker:
    return BarMaker(lambda market: RULES, saved or {})


def named(row: Row) -> dict[str, object]:
    return dict(zip(BARS.columns.keys(), row, strict=True))


def bars_of(bars: BarMaker, ticks: list[PriceUpdate], period: str = "1m") -> list[dict[str, object]]:
    rows = [named(row) for n, tick in enumerate(ticks) for row in bars.add(tick, stand(n))]
    return [row for row in rows if row["period"] == period]


def test_a_bar_knows_its_range_its_times_and_the_place_of_its_last_tick() -> None:
    ticks = [price(0.1, 10.0, volume=1), price(0.2, 10.4, volume=2), price(0.9, 10.2), price(1.5, 11.0)]
    (bar,) = bars_of(maker(), ticks)
    assert (bar["open"], bar["high"], bar["low"], bar["close"], bar["volume"]) == (10.0, 10.4, 10.0, 10.2, 3)
    assert (bar["begins"], bar["timestamp"], bar["ends"]) == (micros(at(0.1)), micros(at(0.9)), micros(at(1)))
    assert bar["log_offset"] == 2


def test_a_tick_at_the_end_of_a_bar_completes_it() -> None:
    bars = bars_of(maker(), [price(0.5, 10.0), price(1, 10.1), price(2, 10.2)])
    assert [(bar["close"], bar["ends"], bar["log_offset"]) for bar in bars] == [
        (10.1, micros(at(1)), 1),
        (10.2, micros(at(2)), 2),
    ]


def test_a_daily_close_is_a_bar_of_every_period() -> None:
    close = PriceUpdate(code=CODE, timestamp=RULES.session_on(at(0).date()).close, price=10.0)
    rows = [named(row) for row in maker().add(close, stand(0))]
    assert [row["period"] for row in rows] == ["1m", "5m", "15m", "1h", "1d"]
    assert {row["ends"] for row in rows} == {micros(close.timestamp)}


def test_a_late_tick_makes_no_second_bar_of_a_minute_that_is_over() -> None:
    bars = bars_of(maker(), [price(0.5, 10.0), price(1.5, 10.1), price(0.6, 99.0), price(2.5, 10.2)])
    assert [(bar["ends"], bar["close"]) for bar in bars] == [(micros(at(1)), 10.0), (micros(at(2)), 10.1)]


def test_a_story_that_is_told_anew_has_its_bars_anew() -> None:
    story = [price(0.5, 10.0), price(1.5, 10.1), price(2.5, 10.2)]
    before = [PriceUpdate(code=CODE, timestamp=t.timestamp - timedelta(days=30), price=t.price) for t in story]
    bars = bars_of(maker(), story + before)
    assert [bar["close"] for bar in bars] == [10.0, 10.1, 10.0, 10.1]


def test_what_is_no_price_is_in_no_bar() -> None:
    assert bars_of(maker(), [price(0.5, 0.0), price(1, 0.0)]) == []


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 60))
def test_a_maker_that_is_saved_and_made_again_goes_on_as_if_nothing_had_happened(seed: int, cut: int) -> None:
    chosen = random.Random(seed)
    some = (price(chosen.random() * 500, 10 + chosen.random(), chosen.choice([CODE, OTHER])) for _ in range(60))
    ticks = sorted(some, key=lambda tick: tick.timestamp)
    whole = maker()
    expected = [row for n, tick in enumerate(ticks) for row in whole.add(tick, stand(n))]
    first = maker()
    found = [row for n, tick in enumerate(ticks[:cut]) for row in first.add(tick, stand(n))]
    second = maker(first.changed())
    found += [row for n, tick in enumerate(ticks[cut:], cut) for row in second.add(tick, stand(n))]
    assert found == expected


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_its_bars_are_the_kernels_own(seed: int) -> None:
    chosen = random.Random(seed)
    ticks = sorted((price(chosen.random() * 300, 10 + chosen.random()) for _ in range(80)), key=lambda t: t.timestamp)
    for period in ("1m", "5m", "15m", "1h", "1d"):
        builder = BarBuilder()
        kernel = [bar for tick in ticks for bar in builder.add(tick, period, RULES.session_at(tick.timestamp))]
        ours = bars_of(maker(), ticks, period)
        assert [(micros(b.timestamp), b.open, b.high, b.low, b.close, b.volume) for b in kernel] == [
            tuple(bar[name] for name in ("timestamp", "open", "high", "low", "close", "volume")) for bar in ours
        ]


def test_one_without_a_memory_begins_no_bar_in_its_middle() -> None:
    ticks = [price(n / 3, 10 + n / 100) for n in range(1, 40)]
    expected = bars_of(maker(), ticks)
    asked: list[int] = []

    def earlier(tick: PriceUpdate, place: Stand) -> list[PriceUpdate]:
        asked.append(place.offset)
        return ticks[: place.offset]

    late = BarMaker(lambda market: RULES, {}, earlier)
    found = [named(row) for n, tick in enumerate(ticks[10:], 10) for row in late.add(tick, stand(n))]
    assert [row for row in found if row["period"] == "1m"] == [bar for bar in expected if bar["log_offset"] >= 9]
    assert asked == [10]
