"""Prices from files and from the sample: read as they are, refused in one line with the place of the fault."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from types import ModuleType

import pytest

from market.feeds.base import Published
from market.feeds.sample import SampleFeed
from portfolios.backtest.errors import BacktestError
from portfolios.backtest.sample import CODES
from portfolios.backtest.source import open_source
from portfolios.kernel.events import PriceUpdate
from portfolios.kernel.rules import rules_for

CODE = "600519.SH"
RULES = rules_for("cn", [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)])


def read(path: Path, *codes: str, market: str = "cn") -> list[PriceUpdate]:
    return list(open_source(str(path), codes or (CODE,), RULES if market == "cn" else rules_for(market)).ticks())


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "prices.csv"


def test_a_daily_bar_is_known_when_its_session_closes(file: Path) -> None:
    file.write_text("date,code,close,preclose,volume\n2024-01-02,600519.SH,10.5,10.25,300\n2024-01-03,000001.SZ,9,,\n")
    assert read(file) == [
        PriceUpdate(
            code=CODE,
            timestamp=datetime(2024, 1, 2, 7, tzinfo=UTC),
            price=10.5,
            prev_close=10.25,
            volume=300,
            close=10.5,
        ),
        PriceUpdate(code="000001.SZ", timestamp=datetime(2024, 1, 3, 7, tzinfo=UTC), price=9.0, close=9.0),
    ]


def test_a_time_without_a_zone_is_the_markets_own(file: Path) -> None:
    file.write_text("timestamp,price\n2024-01-02 09:31:00,10\n2024-01-02T09:32:00+08:00,11\n2024-01-02T01:33:00Z,12\n")
    assert [each.timestamp.minute for each in read(file)] == [31, 32, 33]
    assert {(each.timestamp.hour, each.timestamp.tzinfo, each.code) for each in read(file)} == {(1, UTC, CODE)}


def test_a_zone_with_summer_time_is_followed(file: Path) -> None:
    file.write_text("timestamp,price\n2024-01-02 10:00:00,10\n2024-07-02 10:00:00,11\n")
    assert [each.timestamp.hour for each in read(file, "AAPL.US", market="us")] == [15, 14]


def test_other_columns_a_mark_at_the_beginning_and_empty_lines_do_no_harm(file: Path) -> None:
    file.write_bytes("﻿Date,Note,Close,Open,High,Low\n\n2024-01-02,ß,10,9,11,8\n".encode())
    (tick,) = read(file)
    assert (tick.price, tick.open, tick.high, tick.low, tick.prev_close, tick.volume) == (10, 9, 11, 8, None, None)


@pytest.mark.parametrize(
    ("text", "codes", "fault"),
    [
        ("", 1, "no column 'timestamp' or 'date', nor 'price' or 'close'"),
        ("date,open\n", 1, "no column 'price' or 'close'; it has date, open"),
        ("date,close\n", 2, r"no column 'code' \(the portfolio has 2\)"),
        ("date,close\n2024-01-02,ten\n", 1, "line 2: could not convert string to float: 'ten'"),
        ("date,close\n2024-01-02,\n", 1, "line 2: has no price"),
        ("date,close\n2024-01-02,nan\n", 1, "line 2: has a price of nan"),
        ("date,close\n2024-01-02\n", 1, "line 2: has too few columns"),
        ("date,close,volume\n2024-01-02,1,-5\n", 1, "line 2: has a volume of -5"),
        ("date,close\n02.01.2024,10\n", 1, "line 2: Invalid isoformat string"),
        ("date,close\n2024-01-06,10\n", 1, "line 2: 2024-01-06 is no trading day of market cn"),
        ("date,close\n2024-01-03,10\n2024-01-02,10\n", 1, "line 3: is earlier than the row before it: sort"),
        ("date,code,close\n2024-01-02,AAPL.US,10\n", 1, "line 2: 'AAPL.US' is a code of market us"),
    ],
)
def test_what_cannot_be_read_is_one_line_with_its_place(file: Path, text: str, codes: int, fault: str) -> None:
    file.write_text(text)
    with pytest.raises(BacktestError, match=fault) as raised:
        read(file, *(CODE, "000001.SZ")[:codes])
    assert "\n" not in str(raised.value)


def test_an_unknown_file_and_an_unknown_kind_say_what_is_taken(tmp_path: Path) -> None:
    for name in ("none.csv", "history", str(tmp_path)):
        with pytest.raises(BacktestError, match=r"--data takes 'sample', 'history', a \.csv or a \.parquet file"):
            open_source(name, (CODE,), RULES)
    (tmp_path / "prices.xlsx").touch()
    with pytest.raises(BacktestError, match="--data takes"):
        open_source(str(tmp_path / "prices.xlsx"), (CODE,), RULES)


def test_bytes_that_are_no_text_are_one_line(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BacktestError, match="is not a CSV file in UTF-8"):
        read(file)


def test_the_share_that_is_done_grows_to_one(file: Path) -> None:
    file.write_text("timestamp,price\n" + "".join(f"2024-01-02 09:31:{s % 60:02},10\n" for s in [0] * 50_000))
    source = open_source(str(file), (CODE,), RULES)
    shares = [source.done]
    shares += [source.done for number, _ in enumerate(source.ticks()) if number % 10_000 == 9_999]
    assert shares[0] == 0
    assert sorted(shares) == shares
    assert 0 < shares[1] < shares[-1] <= 1


def test_the_sample_is_the_sample_feeds_story_in_its_order() -> None:
    story = [
        tick for batch, _ in zip(SampleFeed().batches(Published()), range(1888), strict=False) for tick in batch.ticks
    ]
    found = list(open_source("sample", (CODE,), rules_for("cn")).ticks())
    assert len(found) > 10_000
    assert found == story[: len(found)]


def test_the_sample_has_seven_codes_and_no_other() -> None:
    assert len(CODES) == 7
    with pytest.raises(BacktestError, match=r"the sample has no 600000\.SH: it has 600519\.SH"):
        open_source("sample", ("600000.SH",), RULES)


@pytest.fixture
def arrow() -> ModuleType:
    return pytest.importorskip("pyarrow", reason="Parquet is optional")


def test_parquet_is_read_as_csv_is(arrow: ModuleType, tmp_path: Path) -> None:
    from pyarrow import parquet

    at = [datetime(2024, 1, 2, 9, 31), datetime(2024, 1, 2, 9, 32)]  # noqa: DTZ001
    for unit in ("s", "us", "ns"):
        table = arrow.table(
            {
                "volume": [100, None],
                "note": ["a", "b"],
                "close": [10.5, 11.0],
                "timestamp": arrow.array(at, arrow.timestamp(unit)),
                "code": arrow.array([CODE, CODE]).dictionary_encode(),
            }
        )
        parquet.write_table(table, tmp_path / "prices.parquet")
        first, second = read(tmp_path / "prices.parquet")
        assert type(first.timestamp) is datetime
        assert first == PriceUpdate(
            code=CODE, timestamp=datetime(2024, 1, 2, 1, 31, tzinfo=UTC), price=10.5, volume=100, close=10.5
        )
        assert (second.price, second.volume) == (11.0, None)


def test_parquet_of_days_and_its_faults(arrow: ModuleType, tmp_path: Path) -> None:
    from pyarrow import parquet

    path = tmp_path / "prices.parquet"
    parquet.write_table(arrow.table({"date": [date(2024, 1, 2), date(2024, 1, 3)], "close": [10.5, None]}), path)
    with pytest.raises(BacktestError, match=r"row 2: has no price"):
        read(path)
    path.write_bytes(b"PAR1 no more")
    with pytest.raises(BacktestError, match="is not a Parquet file"):
        read(path)
