"""Writing history: each row is there once, however often it is written, on both servers."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from market.history.errors import HistoryAway, HistoryRefused
from market.history.reader import Reader
from market.history.schema import DAYS
from market.history.store import Store
from tests.market.history.conftest import ClickHouse
from tests.market.history.samples import CODE, NOW, at, bar, equity, tick


def test_a_row_that_is_written_again_is_there_once(store: Store, address: str) -> None:
    store.insert("ticks", [tick(n) for n in range(5)])
    store.insert("ticks", [tick(n) for n in range(3, 8)])
    with Reader(address) as reader:
        assert reader.count("ticks") == 8
        assert [each.timestamp for each in reader.ticks(CODE)] == [at(n) for n in range(8)]


def test_two_ticks_of_one_moment_are_two_rows(store: Store, address: str) -> None:
    store.insert("ticks", [tick(1, minutes=0), tick(2, minutes=0), tick(2, minutes=0, log_id="a new log")])
    with Reader(address) as reader:
        assert reader.count("ticks") == 3


def test_of_a_bar_that_is_told_anew_the_later_telling_stays(store: Store, address: str) -> None:
    store.insert("bars", [bar(0, close=10.0, recorded_at=NOW)])
    store.insert("bars", [bar(0, close=10.5, recorded_at=NOW + 1)])
    store.insert("bars", [bar(0, close=10.1, recorded_at=NOW - 40 * 86_400_000_000)])
    with Reader(address) as reader:
        assert [each.close for each in reader.bars(CODE)] == [10.5]


def test_a_sample_of_the_same_moment_is_replaced_by_a_later_one(store: Store, address: str) -> None:
    store.insert("equity", [equity(0, 1000.0), equity(0, 1001.0, NOW + 1)])
    with Reader(address) as reader:
        assert [point.total_value for point in reader.equity("p1")] == [1001.0]


def test_rows_leave_some_time_after_they_were_recorded_and_not_after_they_happened(tmp_path: Path) -> None:
    address = f"sqlite:///{tmp_path / 'h.sqlite3'}"
    store = Store(address, {**DAYS, "ticks": 30})
    store.insert("ticks", [tick(1), tick(2, recorded_at=NOW - 31 * 86_400_000_000)])
    assert store.expire(NOW) == 1
    store.close()
    with Reader(address) as reader:
        assert reader.count("ticks") == 1


def test_clickhouse_is_told_how_long_rows_are_kept_also_when_that_has_changed(clickhouse: ClickHouse) -> None:
    from clickhouse_driver import Client

    address = clickhouse.address()
    for days in (30, 7):
        store = Store(address, {**DAYS, "ticks": days})
        store.insert("ticks", [tick(1)])
        store.close()
    client = Client("127.0.0.1", port=clickhouse.port)
    asked = "SELECT engine_full FROM system.tables WHERE name = 'ticks' AND database = %(name)s"
    ((engine,),) = client.execute(asked, {"name": address.rpartition("/")[2]})
    client.disconnect()
    assert "TTL toDateTime(recorded_at) + toIntervalDay(7)" in engine
    assert "ORDER BY (code, timestamp, log_id, log_partition, log_offset)" in engine


def test_a_value_that_no_row_can_hold_is_refused_and_not_tried_for_ever(store: Store) -> None:
    with pytest.raises(HistoryRefused):
        store.insert("ticks", [(CODE, None, *tick(1)[2:])])
    store.insert("ticks", [tick(1)])


def test_a_locked_file_is_away_and_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.history.store._PATIENCE", 0.1)
    address = f"sqlite:///{tmp_path / 'h.sqlite3'}"
    store = Store(address, DAYS)
    store.insert("ticks", [tick(1)])
    other = sqlite3.connect(tmp_path / "h.sqlite3", isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(HistoryAway, match="locked"):
        store.insert("ticks", [tick(2)])
    other.execute("ROLLBACK")
    other.close()
    store.insert("ticks", [tick(2)])
    store.close()
    with Reader(address) as reader:
        assert reader.count("ticks") == 2


def test_a_clickhouse_that_is_not_there_is_away() -> None:
    store = Store("clickhouse+native://default:secret@127.0.0.1:1/ginkgo", DAYS)
    with pytest.raises(HistoryAway) as caught:
        store.insert("ticks", [tick(1)])
    assert "secret" not in str(caught.value)
    store.close()
