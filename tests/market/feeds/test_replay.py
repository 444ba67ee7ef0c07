"""Replaying files."""

from __future__ import annotations

import importlib.util
from datetime import UTC, datetime
from pathlib import Path

import pytest

from market.feeds.base import FeedError, Published
from market.feeds.replay import ReplayFeed

ROWS = """code,timestamp,price,volume,prev_close
600519.SH,2024-01-02T09:30:00+08:00,100.5,200,99
000001.SZ,2024-01-02T09:30:00+08:00,10.25,,
600519.SH,2024-01-02T09:30:03+08:00,100.6,300,99
"""


def _file(tmp_path: Path, text: str, name: str = "ticks.csv") -> Path:
    file = tmp_path / name
    file.write_text(text)
    return file


def test_ticks_keep_their_own_time_and_distance(tmp_path: Path) -> None:
    feed = ReplayFeed(_file(tmp_path, ROWS))
    first, second = feed.batches(Published())
    assert [tick.code for tick in first.ticks] == ["600519.SH", "000001.SZ"]
    assert first.ticks[0].timestamp == datetime(2024, 1, 2, 1, 30, tzinfo=UTC)
    assert (first.ticks[0].price, first.ticks[0].volume, first.ticks[0].prev_close) == (100.5, 200, 99.0)
    assert (first.ticks[1].volume, first.ticks[1].prev_close) == (None, None)
    assert second.after == 3.0


def test_as_fast_as_possible_does_not_wait(tmp_path: Path) -> None:
    batches = list(ReplayFeed(_file(tmp_path, ROWS), as_fast_as_possible=True).batches(Published()))
    assert [batch.after for batch in batches] == [0.0]
    assert len(batches[0].ticks) == 3


def test_daily_bars_close_at_three_in_shanghai(tmp_path: Path) -> None:
    feed = ReplayFeed(_file(tmp_path, "code,date,close\n600519.SH,2024-01-02,100.5\n"))
    (batch,) = feed.batches(Published())
    assert (batch.ticks[0].timestamp, batch.ticks[0].price) == (datetime(2024, 1, 2, 7, 0, tzinfo=UTC), 100.5)


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("code,timestamp,price\n600519.SH,2024-01-02T09:30:00,1\n", "row 2: timestamp .* has no zone"),
        ("code,timestamp,price\n600519,2024-01-02T09:30:00Z,1\n", "row 2: '600519' is not a well-formed code"),
        ("code,timestamp,price\n600519.SH,2024-01-02T09:30:00Z,x\n", "row 2: "),
        ("code,timestamp\n600519.SH,2024-01-02T09:30:00Z\n", "row 2: column 'price' is missing"),
        (
            "code,timestamp,price\n600519.SH,2024-01-02T09:30:00Z,1\n600519.SH,2024-01-02T09:29:00Z,1\n",
            "row 3: time runs backwards",
        ),
        ("code,timestamp,price\n", "has no ticks"),
        ("code,timestamp,price\n600519.SH,2024-01-02T09:30:00Z,1\nAAPL.US,2024-01-02T09:31:00Z,1\n", "several markets"),
    ],
)
def test_a_faulty_file_is_refused_with_its_row(tmp_path: Path, text: str, fault: str) -> None:
    with pytest.raises(FeedError, match=fault):
        ReplayFeed(_file(tmp_path, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="No such file"):
        ReplayFeed(tmp_path / "nothing.csv")


@pytest.mark.skipif(importlib.util.find_spec("pyarrow") is not None, reason="pyarrow is installed")
def test_parquet_without_pyarrow_says_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(FeedError, match="pip install pyarrow"):
        ReplayFeed(_file(tmp_path, "", "ticks.parquet"))
