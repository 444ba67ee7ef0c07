"""Prices from files and from the sample: read as they are, refused in one line with the place of the fault."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import ModuleType

import pytest

from market.feeds.base import Published
from market.feeds.sample import SampleFeed
from portfolios.backtest.csv_file import cells_of
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
    for name in ("none.csv", str(tmp_path)):
        with pytest.raises(BacktestError, match=r"--data takes 'sample', 'history', a \.csv or a \.parquet file"):
            open_source(name, (CODE,), RULES)
    (tmp_path / "prices.xlsx").touch()
    with pytest.raises(BacktestError, match="--data takes"):
        open_source(str(tmp_path / "prices.xlsx"), (CODE,), RULES)


@pytest.mark.parametrize(
    ("columns", "codes"),
    [
        ("timestamp,price", 1),
        ("timestamp,code,price,prev_close", 3),
        ("date,note,code,open,high,low,close,volume,preclose", 3),
        ("time,code,close,volume", 2),
    ],
)
def test_many_rows_at_once_are_the_same_prices_as_row_by_row(file: Path, columns: str, codes: int) -> None:
    rules = rules_for("cn")
    traded = (CODE, "000001.SZ", "688981.SH")[:codes]
    names = columns.split(",")
    rows = []
    for number in range(12_000):
        minute = datetime(2024, 1, 2, 9, 30) + timedelta(minutes=number // codes % 240, days=number // codes // 240)  # noqa: DTZ001
        day = rules.session_on(date(2024, 1, 2) + timedelta(days=number // 1000)).day
        cells = {"timestamp": f"{minute}+08:00", "time": f"{minute}", "date": f"{day}", "code": traded[number % codes]}
        # Some cells are empty: the pieces with and without them are read in different ways.
        cells |= dict.fromkeys(("price", "close"), f"{10 + number % 90 / 10}")
        rows.append([cells.get(name, "" if number % 4000 == 7 else str(10 + number % 90)) for name in names])
    text = "\n".join(",".join(row) for row in rows) + "\n"
    file.write_text(f"{columns}\n{text}")
    plain = read(file, *traded)
    file.write_text(f"{columns}\n" + "\n".join(",".join(f'"{cell}"' for cell in row) for row in rows))
    assert len(plain) == 12_000
    assert plain == read(file, *traded)
    assert {each.timestamp.tzinfo for each in plain} == {UTC}


def test_a_fault_far_down_a_file_is_told_with_its_line_after_all_before_it(file: Path) -> None:
    good = [f"2024-01-02 09:30:00,{10 + number % 5}" for number in range(20_000)]
    file.write_text("\n".join(["timestamp,price", *good, "2024-01-02 09:30:00,ten", *good]))
    ticks = open_source(str(file), (CODE,), RULES).ticks()
    seen = 0
    with pytest.raises(BacktestError, match=r"line 20002: could not convert string to float: 'ten'"):
        for _ in ticks:
            seen += 1
    assert seen == 20_000


def test_cells_over_several_lines_and_other_line_ends_are_read(file: Path) -> None:
    file.write_bytes(b'date,note,close\r\n2024-01-02,"two\r\nlines",10\r\n2024-01-03,,11\r\n2024-01-04,,x\r\n')
    with pytest.raises(BacktestError, match="line 5: could not convert"):
        read(file)
    file.write_bytes(b'date,note,close\r\n2024-01-02,"two\r\nlines",10\r\n2024-01-03,,11')
    assert [each.price for each in read(file)] == [10, 11]


def test_rows_of_other_widths_are_never_taken_for_one_another() -> None:
    assert cells_of("1,2,3\n4,5,6\n", 3, [0, 2]) == {0: ["1", "4"], 2: ["3", "6"]}
    assert cells_of("1,2,3", 3, [1]) == {1: ["2"]}
    for odd in ("1\n2\n", "1,2\n3\n", "1,2,3,4\n5,6\n", "1,2,3\n\n", "1,2\n1,2,3,4\n", '1,"2",3\n'):
        assert cells_of(odd, 3, [0]) is None


def test_bytes_that_are_no_text_are_one_line(file: Path) -> None:
    file.write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(BacktestError, match="is not a CSV file in UTF-8"):
        read(file)
    file.write_bytes(b"date,close\n" + b"2024-01-02,10\n" * 100_000 + b"\xff\n")
    with pytest.raises(BacktestError, match=r"line \d+ or after it: is not in UTF-8"):
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
