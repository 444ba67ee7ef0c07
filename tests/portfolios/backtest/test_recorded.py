"""A recorded stream: as exact as the log, and a backtest on it names things as the live path does."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID, uuid5

import pytest

from portfolios.backtest.csv_file import CsvFile
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.recorded import RecordedFile, write
from portfolios.backtest.source import open_source
from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.rules import rules_for
from tests.portfolios.backtest.support import PORTFOLIO_ID, backtest, document
from tests.portfolios.kernel.harness import CODE, close_of, tick

RULES = rules_for("cn")
RISE = [10.0, 9.9, 9.8, 10.2, 10.4, 10.6]


def recorded(path: Path, rows: list[tuple[PriceUpdate, Cause]]) -> Path:
    with path.open("w", newline="") as file:
        assert write(rows, file) == len(rows)
    return path


def test_every_field_comes_back_as_it_was(tmp_path: Path) -> None:
    full = PriceUpdate(
        code=CODE, timestamp=datetime(2024, 3, 5, 2, 0, 0, 123456, tzinfo=UTC), price=0.1 + 0.2, prev_close=1e-4,
        volume=10**12, open=1 / 3, high=2.5, low=0.0, close=7.1, bid_price=0.29, ask_price=0.31, bid_volume=0,
        ask_volume=5,
    )  # fmt: skip
    bare = tick(10.0, close_of(0))
    rows = [(full, Cause("a.topic", 3, 17)), (bare, Cause("a.topic", 0, 2**40))]
    assert list(RecordedFile(recorded(tmp_path / "log.csv", rows)).log()) == rows


def test_orders_and_fills_are_named_after_the_places_in_the_record(tmp_path: Path) -> None:
    places = [Cause("t", 4, 100 + 3 * number) for number in range(len(RISE))]
    ticks = [tick(price, close_of(number)) for number, price in enumerate(RISE)]
    run = backtest(document(), slippage_rate=0.0)
    found = run.run(run.placed(zip(ticks, places, strict=True)))
    (order,), (traded,) = found.orders, found.fills
    assert order.cause == "t:4:109:0"
    assert traded.fill.fill_id == str(uuid5(UUID(order.order_id), "t:4:112"))
    plain = backtest(document(), slippage_rate=0.0).run(ticks)
    assert [each.fill.price for each in plain.fills] == [traded.fill.price]
    assert plain.orders[0].order_id != order.order_id
    assert order.portfolio_id == PORTFOLIO_ID


def test_prices_before_the_start_keep_their_places_too() -> None:
    ticks = [tick(price, close_of(number)) for number, price in enumerate(RISE)]
    log = [(each, Cause("t", 0, 50 + number)) for number, each in enumerate(ticks)]
    run = backtest(document())
    found = run.run(run.placed(log), start=close_of(3).date())
    assert (found.warmup, [order.cause for order in found.orders]) == (3, ["t:0:53:0"])


def test_a_csv_file_with_places_is_taken_for_a_record_and_others_are_not(tmp_path: Path) -> None:
    path = recorded(tmp_path / "log.csv", [(tick(10.0, close_of(0)), Cause("t", 0, 0))])
    assert isinstance(open_source(str(path), (CODE,), RULES), RecordedFile)
    plain = tmp_path / "plain.csv"
    plain.write_text("date,close\n2024-01-02,10\n")
    assert isinstance(open_source(str(plain), (CODE,), RULES), CsvFile)


@pytest.mark.parametrize(
    "row",
    [
        "t,0,x,2024-01-02T07:00:00+00:00,600519.SH,10",
        "t,0,1,2024-01-02T07:00:00+00:00,nonsense,10",
        "t,0,1,2024-01-02T07:00:00,600519.SH,10",
        "t,0,1,2024-01-02T07:00:00+00:00,600519.SH,",
    ],
)
def test_what_cannot_be_read_is_said_with_its_line(tmp_path: Path, row: str) -> None:
    path = tmp_path / "log.csv"
    path.write_text(f"topic,partition,offset,timestamp,code,price\n{row}\n")
    with pytest.raises(BacktestError, match=r"log\.csv, line 2: "):
        list(RecordedFile(path).ticks())
