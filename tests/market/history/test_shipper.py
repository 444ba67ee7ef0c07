"""From the spool to the server: everything, once, however often it takes."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.history.reader import Reader
from market.history.schema import DAYS
from market.history.shipper import Shipper
from market.history.spool import Next, Offsets, Spool
from market.history.store import Store
from tests.market.history.conftest import ClickHouse
from tests.market.history.samples import CODE, bar, tick
from tests.nodes.support import Alerts


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool", 1 << 20)
    yield made
    made.close()


class Told:
    """A shipper, what it alerted and up to where it said the log to be through."""

    def __init__(self, spool: Spool, address: str) -> None:
        self.alerts = Alerts()
        self.through: Offsets = {}
        self.store = Store(address, DAYS)
        self.shipper = Shipper(threading.Event(), spool, self.store, self.alerts.alerter, self.through.update)


def test_what_lies_in_the_spool_comes_to_the_server_and_then_the_log_is_through(spool: Spool, address: str) -> None:
    told = Told(spool, address)
    spool.put({"ticks": [tick(n) for n in range(3)], "bars": [bar(0)]}, {("t", 0): Next("log", 3)})
    assert told.shipper.step()
    assert (spool.rows, told.through) == (0, {("t", 0): Next("log", 3)})
    assert not told.shipper.step()
    with Reader(address) as reader:
        assert (reader.count("ticks"), reader.count("bars")) == (3, 1)


def test_a_row_that_the_server_never_takes_is_put_aside_and_the_others_go_on(spool: Spool, address: str) -> None:
    told = Told(spool, address)
    wrong = (CODE, None, *tick(1)[2:])
    spool.put({"ticks": [tick(0), wrong, tick(2), tick(3)]})
    assert told.shipper.step()
    with Reader(address) as reader:
        assert reader.count("ticks") == 3
    assert spool._db.execute("SELECT tbl FROM refused").fetchall() == [("ticks",)]
    assert told.alerts.types == ["data_anomaly"]


def test_a_server_that_is_killed_loses_nothing_and_has_nothing_twice(tmp_path: Path, clickhouse: ClickHouse) -> None:
    address = clickhouse.address()
    spool = Spool(tmp_path, 1 << 20)
    told = Told(spool, address)
    deaf = clickhouse.folder / "deaf"
    spool.put({"ticks": [tick(n) for n in range(100)]})
    assert told.shipper.step()
    # It takes the rows and hangs up before it says so.
    deaf.touch()
    spool.put({"ticks": [tick(n) for n in range(100, 200)], "bars": [bar(1)]})
    assert not told.shipper.step() and told.shipper.away
    spool.put({"ticks": [tick(n) for n in range(200, 250)]})
    assert not told.shipper.step()
    # Then it is gone for a while, and comes back.
    clickhouse.kill()
    assert not told.shipper.step() and spool.rows == 151
    deaf.unlink()
    clickhouse.start()
    assert told.shipper.step() and spool.rows == 0
    with Reader(address) as reader:
        assert reader.count("ticks") == 250 and reader.count("bars") == 1
        assert [each.timestamp for each in reader.ticks(CODE)] == sorted({e.timestamp for e in reader.ticks(CODE)})
    told.store.close()
    spool.close()


def test_a_spool_that_fills_is_alerted_at_80_percent_and_when_it_is_full(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    told = Told(spool, "clickhouse+native://default@127.0.0.1:1/x")

    def fill(share: float) -> None:
        while spool.bytes < share * spool.bound:
            spool.put({"ticks": [tick(1)]})

    fill(0.7)
    told.shipper.step()
    assert told.alerts.types == []
    fill(0.82)
    told.shipper.step()
    told.shipper.step()
    assert [(each.alert_type, each.severity) for each in told.alerts.raised] == [("history_spool", "warning")]
    fill(1.0)
    told.shipper.step()
    assert told.alerts.raised[-1].severity == "critical"
    assert "not read on" in told.alerts.raised[-1].message
    spool.close()
