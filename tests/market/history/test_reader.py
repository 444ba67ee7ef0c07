"""Every question that readers ask, on both servers."""

from __future__ import annotations

import tracemalloc
from datetime import timedelta
from pathlib import Path

import pytest

from market.history.reader import EquityPoint, HistoryAway, Place, Reader, Span
from market.history.rows import micros, order_row
from market.history.schema import DAYS
from market.history.store import Store
from market.messages import OrderCancel, OrderSubmission
from tests.market.history.samples import CODE, MORNING, NOW, OTHER, at, bar, equity, position, price, stand, tick


def test_ticks_come_in_the_order_of_their_time_whichever_code_they_are_of(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n, n, code=code) for code in (CODE, OTHER) for n in range(4)])
    with Reader(address) as reader:
        found = list(reader.ticks([CODE, OTHER], at(1), at(3)))
        assert [each.timestamp for each in found] == [at(1), at(1), at(2), at(2)]
        assert list(reader.ticks(["600000.SH"])) == []
        assert [each.code for each in reader.ticks(OTHER)] == [OTHER] * 4


def test_a_tick_is_read_as_it_was_written(store: Store, address: str) -> None:
    from market.history.rows import tick_row

    whole = price(
        0.123456, 10.01, prev_close=9.9, volume=7, open=9.8, high=10.2, low=9.7, close=10.01, bid_price=10.0,
        ask_price=10.02, bid_volume=3, ask_volume=2**62,
    )  # fmt: skip
    bare = price(1)
    store.insert("ticks", [tick_row(whole, stand(0)), tick_row(bare, stand(1))])
    with Reader(address) as reader:
        assert list(reader.ticks(CODE)) == [whole, bare]


def test_bars_of_a_period(store: Store, address: str) -> None:
    store.insert("bars", [bar(0), bar(1, 10.5), bar(1, 10.5, OTHER, recorded_at=NOW + 1), bar(1, period="1h"), bar(2)])
    with Reader(address) as reader:
        found = list(reader.bars([CODE, OTHER], at(0) + timedelta(days=1), at(0) + timedelta(days=2)))
    assert [(each.code, each.close) for each in found] == [(CODE, 10.5), (OTHER, 10.5)]
    assert (found[0].open, found[0].high, found[0].low, found[0].volume, found[0].prev_close) == (9.5, 11, 9, 700, 9.9)
    assert found[0].begins < found[0].timestamp < found[0].ends
    assert found[0].tick().price == 10.5 and found[0].tick().timestamp == found[0].timestamp


def test_the_last_ticks_of_each_code_up_to_a_place_in_the_log(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n, code=code) for code in (CODE, OTHER) for n in range(10)])
    store.insert("ticks", [tick(500, minutes=-5, log_id="an older log")])
    with Reader(address) as reader:
        assert [each.timestamp for each in reader.last_ticks(CODE, 3)] == [at(7), at(8), at(9)]
        both = reader.last_ticks([CODE, OTHER], 2)
        assert [(each.timestamp, each.code) for each in both] == [
            (when, code) for when in (at(8), at(9)) for code in sorted([CODE, OTHER], reverse=both[0].code == CODE)
        ]
        before = reader.last_ticks(CODE, 3, Place("log", 0, 2))
        assert [each.timestamp for each in before] == [at(-5), at(0), at(1)]
        assert len(reader.last_ticks(CODE, 100, Place("log", 7, 2))) == 11
        assert [each.timestamp for each in reader.ticks(CODE, at(0), before=Place("log", 0, 2))] == [at(0), at(1)]


def test_the_last_bars_of_a_code_up_to_a_place_in_the_log(store: Store, address: str) -> None:
    store.insert("bars", [bar(day, 10 + day / 10) for day in range(5)])
    with Reader(address) as reader:
        assert [each.close for each in reader.last_bars(CODE, 2)] == [10.3, 10.4]
        assert [each.close for each in reader.last_bars(CODE, 2, Place("log", 0, 3))] == [10.1, 10.2]
        assert reader.last_bars(CODE, 2, period="5m") == []


def test_the_span_of_what_there_is(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n) for n in range(3)])
    store.insert("bars", [bar(1)])
    with Reader(address) as reader:
        assert reader.span([CODE]) == Span(at(0), at(2), 3)
        assert reader.span([CODE], "1d").rows == 1
        assert reader.span([OTHER]) == Span(None, None, 0)


def test_what_a_portfolio_was_worth(store: Store, address: str) -> None:
    store.insert("equity", [equity(n, 1000.0 + n) for n in range(3)] + [equity(1, 5.0, portfolio="p2")])
    with Reader(address) as reader:
        assert list(reader.equity("p1", at(1))) == [
            EquityPoint(at(1), 100.0, 5.0, 1001.0, 2),
            EquityPoint(at(2), 100.0, 5.0, 1002.0, 2),
        ]


def test_what_a_portfolio_held_at_a_moment(store: Store, address: str) -> None:
    store.insert("positions", [position(0, CODE, 100), position(5, CODE, 200), position(5, OTHER, 300)])
    store.insert("positions", [position(9, CODE, 0)])
    with Reader(address) as reader:
        assert [(each["code"], each["volume"]) for each in reader.positions("p1", at(1))] == [(CODE, 100)]
        assert {each["code"]: each["volume"] for each in reader.positions("p1", at(6))} == {CODE: 200, OTHER: 300}
        assert [each["code"] for each in reader.positions("p1")] == [OTHER]


def test_what_was_said_about_orders(store: Store, address: str) -> None:
    order = OrderSubmission(
        timestamp=at(0), order_id="o1", portfolio_id="p1", epoch=1, code=CODE, direction=1, order_type="market",
        volume=100, cause="t:0:1:0",
    )  # fmt: skip
    cancel = OrderCancel(timestamp=at(1), cancel_id="c1", order_id="o1", portfolio_id="p1", epoch=1, cause="t:0:2:0")
    store.insert("orders", [order_row(order, stand(0)), order_row(cancel, stand(1)), order_row(order, stand(2))])
    store.insert("fills", [("p1", micros(at(1)), "f1", "o1", CODE, 1, 100, 0, 10.0, 1000.0, 5.0, 0.1, 2, *stand(3))])
    with Reader(address) as reader:
        said = list(reader.orders("p1"))
        assert [(each["event"], each["volume"], each["timestamp"]) for each in said] == [
            ("order_submission", 100, at(0)),
            ("order_cancel", None, at(1)),
        ]
        (fill,) = reader.fills("p1", at(0), at(2))
        assert (fill["fill_id"], fill["amount"], fill["timestamp"]) == ("f1", 1000.0, at(1))


def test_a_reader_that_stops_half_way_can_ask_again(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n, n / 1000) for n in range(5000)])
    with Reader(address) as reader:
        found = reader.ticks(CODE)
        next(found)
        found.close()  # type: ignore[attr-defined]
        assert reader.count("ticks") == 5000


def test_memory_does_not_grow_with_what_is_read(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n, n / 1000) for n in range(20_000)])
    with Reader(address) as reader:
        found = reader.ticks(CODE)
        for _ in range(3000):
            next(found)
        tracemalloc.start()
        assert sum(1 for _ in found) == 17_000
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    # All of these rows at once take some 8 MB, a block of them less than one.
    assert peak < 4_000_000


def test_history_that_nobody_has_written_yet_is_away_and_is_not_made_by_asking(tmp_path: Path) -> None:
    path = tmp_path / "h.sqlite3"
    with Reader(f"sqlite:///{path}") as reader, pytest.raises(HistoryAway, match="there is no history yet"):
        reader.count("ticks")
    assert not path.exists()


def test_a_server_that_is_away_is_one_line_without_its_password() -> None:
    reader = Reader("clickhouse+native://me:secret@127.0.0.1:1/x", timeout=1)
    with reader, pytest.raises(HistoryAway, match=r"127\.0\.0\.1:1") as caught:
        list(reader.ticks(CODE))
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)


def test_a_question_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'h.sqlite3'}"
    store = Store(address, DAYS)
    store.insert("ticks", [tick(n, n / 1000) for n in range(3000)])
    store.close()
    with Reader(address, timeout=0.0) as reader, pytest.raises(HistoryAway, match="too long"):
        list(reader.ticks(CODE))


def test_moments_are_exact_to_the_microsecond() -> None:
    from market.history.reader import micros as to_micros
    from market.history.reader import moment

    for moment_ in (MORNING, MORNING + timedelta(microseconds=1), MORNING.replace(year=2199, microsecond=999_999)):
        assert moment(to_micros(moment_)) == moment_
    assert NOW > 0
