"""History as a backtest's prices, and as a replay."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import chain
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from market.feeds.base import FeedError, Published
from market.history.bars import BarMaker
from market.history.feed import HistoryFeed
from market.history.rows import Stand, tick_row
from market.history.schema import DAYS
from market.history.store import Store
from market.messages import PriceUpdate
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.result import Result
from portfolios.backtest.run import Setup, run_backtest
from portfolios.backtest.sample import CODES, Sample
from portfolios.backtest.source import open_source
from portfolios.kernel.rules import rules_for
from tests.market.history.samples import CODE, OTHER, at, price

RULES = rules_for("cn")
Record = Callable[[list[PriceUpdate]], None]


@pytest.fixture
def record(tmp_path: Path, settings: Any) -> Record:
    """Writes ticks into a history of this test's own, as if they had come by the log in this order."""
    address = f"sqlite:///{tmp_path / 'history.sqlite3'}"
    settings.GINKGO_RESOLVE = lambda: SimpleNamespace(history=address)
    store = Store(address, DAYS)

    def write(ticks: list[PriceUpdate]) -> None:
        made = BarMaker(lambda market: RULES, {})
        stands = [Stand("log", 0, offset, offset) for offset in range(len(ticks))]
        store.insert("ticks", [tick_row(*each) for each in zip(ticks, stands, strict=True)])
        bars = list(chain.from_iterable(made.add(*each) for each in zip(ticks, stands, strict=True)))
        if bars:
            store.insert("bars", bars)

    return write


def test_a_backtest_on_what_history_recorded_is_that_on_the_stream_itself(record: Record, tmp_path: Path) -> None:
    stream = [tick for tick in Sample(CODES, RULES).ticks() if tick.timestamp.year == 2024]
    record(stream)
    config = {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 3, "long_period": 10}},
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 50_000}},
        "codes": list(CODES),
    }
    span = {"start": date(2024, 3, 1), "end": date(2024, 9, 30)}
    setup = Setup(config, Decimal(1_000_000), "history", **span)  # type: ignore[arg-type]
    home = tmp_path / "home"
    found = run_backtest(setup, home)
    assert found.fills and found.warmup > 0
    by_bars = run_backtest(replace(setup, data="history:1d"), home)
    sample = run_backtest(replace(setup, data="sample"), home)
    # The sample's strategies know 2023, too; their averages, and so their orders, are the same from the tenth day on.
    assert traded(found) == traded(by_bars) == traded(sample)


def traded(result: Result) -> list[tuple[object, ...]]:
    """Its fills, without the ids: those are made of places in the stream, and the sample's is longer."""
    return [(each.fill.code, each.fill.timestamp, each.fill.volume, each.fill.price) for each in result.fills]


def test_the_share_that_is_done_grows_to_one(record: Record) -> None:
    record([price(n, code=code) for n in range(1500) for code in (CODE, OTHER)])
    source = open_source("history", [CODE, OTHER], RULES)
    assert source.done == 0.0
    shares = [source.done for _ in source.ticks()]
    assert shares == sorted(shares) and shares[-1] > 0.6


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        ("history", "history has no ticks of 000001.SZ"),
        ("history:1h", "history has no 1h bars of 000001.SZ"),
        ("history:2d", "history has ticks"),
    ],
)
def test_what_history_does_not_have_is_one_line(record: Record, data: str, fault: str) -> None:
    record([price(0)])
    with pytest.raises(BacktestError, match=fault):
        open_source(data, [OTHER], RULES)


def test_history_that_is_not_there_is_one_line(settings: Any, tmp_path: Path) -> None:
    settings.GINKGO_RESOLVE = lambda: SimpleNamespace(history=f"sqlite:///{tmp_path / 'none.sqlite3'}")
    with pytest.raises(BacktestError, match="there is no history yet"):
        open_source("history", [CODE], RULES)
    with pytest.raises(FeedError, match="there is no history yet"):
        HistoryFeed([CODE])


def test_a_replay_keeps_event_time_and_its_pauses(record: Record) -> None:
    record([price(0), price(0, code=OTHER), price(1), price(3)])
    feed = HistoryFeed([CODE, OTHER])
    found = [(batch.after, [tick.timestamp for tick in batch.ticks]) for batch in feed.batches(Published())]
    assert found == [(0.0, [at(0), at(0)]), (60.0, [at(1)]), (120.0, [at(3)])]
    assert (feed.market, feed.codes, feed.source) == ("cn", (CODE, OTHER), "history")


def test_a_replay_goes_on_after_what_was_published(record: Record) -> None:
    record([price(n) for n in range(5)])
    batches = list(HistoryFeed([CODE]).batches(Published(at(2), {CODE: price(2)}, whole=True)))
    assert [tick.timestamp for batch in batches for tick in batch.ticks] == [at(3), at(4)]


def test_as_fast_as_possible_many_moments_leave_together(record: Record) -> None:
    record([price(n) for n in range(2500)])
    batches = list(HistoryFeed([CODE], as_fast_as_possible=True).batches(Published()))
    assert [(batch.after, len(batch.ticks)) for batch in batches] == [(0.0, 1000), (0.0, 1000), (0.0, 500)]


def test_a_replay_of_bars(record: Record) -> None:
    record([price(n / 4, 10 + n) for n in range(1, 9)])
    ticks = [tick for batch in HistoryFeed([CODE], "1m").batches(Published()) for tick in batch.ticks]
    assert [(tick.timestamp, tick.price, tick.high) for tick in ticks] == [(at(1), 14.0, 14.0), (at(2), 18.0, 18.0)]


@pytest.mark.parametrize(
    ("codes", "bar", "fault"),
    [
        ([], None, "give them with --codes"),
        ([CODE], "2d", "no bars of '2d'"),
        ([CODE, "AAPL.US"], None, "several markets"),
        ([OTHER], None, "history has no ticks"),
    ],
)
def test_a_replay_that_cannot_be_is_refused(record: Record, codes: list[str], bar: str | None, fault: str) -> None:
    record([price(0)])
    with pytest.raises(FeedError, match=fault):
        HistoryFeed(codes, bar)
