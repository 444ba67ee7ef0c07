"""Warm-up: strategies see their past before the present, once, as long as history answers at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest

from market.history.bars import BarMaker
from market.history.reader import HistoryAway, Reader
from market.history.rows import Stand, tick_row
from market.history.schema import DAYS
from market.history.store import Store
from nodes import warmup
from nodes.runtime import Runtime, restore
from nodes.warmup import History
from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.portfolio import Portfolio
from tests.nodes.support import CODE, MORNING, RULES, TOPIC, loaded
from tests.portfolios.kernel.scripted import PATH as SCRIPTED

OTHER = "000001.SZ"
DAY = timedelta(days=1)


def config(codes: tuple[str, ...] = (CODE,), bar: str = "tick", long: int = 4, name: str = "") -> dict[str, object]:
    strategy = {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": long}}
    return {
        "strategy": strategy if not name else {"name": name, "params": {"script": []}},
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10_000}},
        "codes": list(codes),
        "policy": {"bar": bar},
    }


def price(number: int, code: str = CODE, step: timedelta = timedelta(minutes=1)) -> PriceUpdate:
    return PriceUpdate(code=code, timestamp=MORNING + number * step, price=10 + number % 7 / 10, prev_close=10.0)


class Past:
    """A history of its own, written as the writer does it; `partition` is the code's."""

    def __init__(self, folder: Path) -> None:
        self.address = f"sqlite:///{folder / 'history.sqlite3'}"
        self._store = Store(self.address, DAYS)
        self._bars = BarMaker(lambda market: RULES, {})

    def write(self, ticks: list[PriceUpdate], partition: int = 0) -> None:
        rows, bars = [], []
        for offset, tick in enumerate(ticks):
            stand = Stand("log", partition, offset, 10**15 + offset)
            rows.append(tick_row(tick, stand))
            bars += list(self._bars.add(tick, stand))
        self._store.insert("ticks", rows)
        if bars:
            self._store.insert("bars", bars)

    def history(self, patience: float = 5.0) -> History:
        return History(lambda timeout: Reader(self.address, timeout), patience)


@pytest.fixture
def past(tmp_path: Path) -> Past:
    return Past(tmp_path)


def made(**settings: object) -> Runtime:
    run, refused = restore(loaded(config=config(**settings)), RULES)  # type: ignore[arg-type]
    assert refused == ""
    return run


def warm(run: Runtime, history: History, start: int | None = None, codes: tuple[str, ...] = (CODE,)) -> None:
    """Up to offset `start` of partition 0, in which all codes are."""
    starts = {} if start is None else {(TOPIC, 0): start}
    warmup.warm_up(run, history, codes, starts, {TOPIC: "log"}, lambda code: {(TOPIC, 0)})


def memory(portfolio: Portfolio, code: str = CODE) -> object:
    state = msgspec.json.decode(portfolio.snapshot())
    return next(watch[7] for watch in state["watches"] if watch[0] == code)


def seen_live(ticks: list[PriceUpdate], **settings: object) -> Portfolio:
    portfolio = made(**settings).portfolio
    for offset, tick in enumerate(ticks):
        portfolio.apply(tick, Cause(TOPIC, 0, offset))
    return portfolio


def test_it_sees_the_last_prices_up_to_where_it_begins_to_read_and_not_one_of_those_that_come(past: Past) -> None:
    ticks = [price(n) for n in range(10)]
    past.write(ticks)
    run = made()
    warm(run, past.history(), start=6)
    assert memory(run.portfolio) == memory(seen_live(ticks[2:6]))
    assert not run.portfolio.unanswered() and run.dirty


def test_with_bars_it_sees_complete_bars_and_the_part_of_the_one_that_is_open(past: Past) -> None:
    ticks = [price(n, step=timedelta(seconds=25)) for n in range(100)]
    past.write(ticks)
    run = made(bar="5m")
    warm(run, past.history(), start=75)
    live = seen_live(ticks[:75], bar="5m")
    state, expected = (msgspec.json.decode(p.snapshot())["watches"][0] for p in (run.portfolio, live))
    assert state[9][:6] == expected[9][:6]  # the bar that is open: its end and its range
    # The window is a ring, turned by how many bars were seen in all: the same prices lie in both.
    assert sorted(state[7][0]) == sorted(expected[7][0])
    for offset, tick in enumerate(ticks[75:], 75):
        for portfolio in (run.portfolio, live):
            portfolio.apply(tick, Cause(TOPIC, 0, offset))
    state, expected = (msgspec.json.decode(p.snapshot())["watches"][0] for p in (run.portfolio, live))
    assert sorted(state[7][0]) == sorted(expected[7][0])


def test_what_it_has_seen_is_in_its_snapshot_and_a_successor_goes_on_with_it(past: Past) -> None:
    past.write([price(n) for n in range(10)])
    run = made()
    warm(run, past.history())
    save, _ = run.take_save()
    again = loaded(
        save.portfolio_id, config=config(), state=save.state, checkpoint_version=1, offsets=save.offsets
    )  # fmt: skip
    successor, _ = restore(again, RULES)
    assert successor.portfolio.snapshot() == save.state
    for offset in range(10, 20):
        for portfolio in (run.portfolio, successor.portfolio):
            portfolio.apply(price(offset), Cause(TOPIC, 0, offset))
    assert successor.portfolio.snapshot() == run.portfolio.snapshot()


def test_a_code_that_is_added_to_a_portfolio_that_trades_keeps_its_past_too(past: Past) -> None:
    past.write([price(n, OTHER) for n in range(10)])
    run = made()
    run.apply([_item(price(30), 0)])
    run.reconfigure(loaded(config=config((CODE, OTHER)), version=2))
    warm(run, past.history(), codes=(CODE, OTHER))
    expected = memory(seen_live([price(n, OTHER) for n in range(6, 10)], codes=(OTHER,)), OTHER)
    assert memory(run.portfolio, OTHER) == expected
    restored = Portfolio.restore(run.portfolio.snapshot(), run.portfolio_id, run.portfolio.config, RULES)
    assert restored.snapshot() == run.portfolio.snapshot()
    assert run.portfolio.price_of(OTHER) == int(price(9).price * 10_000)


def test_a_strategy_that_keeps_its_memory_is_not_told_twice(past: Past) -> None:
    past.write([price(n) for n in range(10)])
    run = made()
    run.apply([_item(price(30), 0)])
    before = memory(run.portfolio)
    run.reconfigure(loaded(config={**config(), "policy": {"min_signal_interval": 5}}, version=2))
    warm(run, past.history())
    assert memory(run.portfolio) == before


def test_a_strategy_whose_periods_change_sees_the_past_of_the_new_ones(past: Past) -> None:
    ticks = [price(n) for n in range(10)]
    past.write(ticks)
    run = made()
    run.apply([_item(tick, offset) for offset, tick in enumerate(ticks[:8])])
    run.reconfigure(loaded(config=config(long=5), version=2))
    warm(run, past.history(), start=8)
    assert memory(run.portfolio) == memory(seen_live(ticks[3:8], long=5))


def test_history_that_does_not_answer_costs_a_second_once_and_then_nothing(past: Past) -> None:
    release = threading.Event()

    def hang(timeout: float) -> Reader:
        release.wait(10)
        raise HistoryAway("at last")

    history = History(hang, patience=0.2)
    run = made()
    before = run.portfolio.snapshot()
    took = [_timed(lambda: warm(run, history)) for _ in range(3)]
    release.set()
    assert 0.2 <= took[0] < 2.0 and max(took[1:]) < 0.1
    assert run.portfolio.snapshot() == before


def test_history_that_is_not_there_leaves_it_cold(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "nodes")
    run = made()
    before = run.portfolio.snapshot()
    warm(run, Past(tmp_path).history())
    assert run.portfolio.snapshot() == before
    assert "starts cold: there is no history yet" in caplog.text


def test_a_component_that_fails_at_its_past_starts_without_one(
    past: Past, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    past.write([price(n) for n in range(10)])
    run = made()
    before = run.portfolio.snapshot()
    strategy = run.portfolio._team.strategy
    seen: list[PriceUpdate] = []

    def fail(memory: object, tick: PriceUpdate) -> None:
        seen.append(tick)
        if len(seen) == 3:
            raise ZeroDivisionError

    monkeypatch.setattr(strategy, "on_price", fail)
    caplog.set_level("INFO", "nodes")
    warm(run, past.history())
    assert run.portfolio.snapshot() == before
    assert "fails at its past" in caplog.text


def test_one_that_needs_no_past_asks_nobody() -> None:
    def never(timeout: float) -> Reader:
        raise AssertionError("asked")

    warm(made(name=SCRIPTED), History(never))


def _item(tick: PriceUpdate, offset: int) -> object:
    from nodes.subscription import Item

    return Item(tick, Cause(TOPIC, 0, offset))


def _timed(work: Callable[[], None]) -> float:
    begun = time.monotonic()
    work()
    return time.monotonic() - begun
