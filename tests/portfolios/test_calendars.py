"""Trading days come from a child process once and from a file ever after, without pandas in this one."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from portfolios import calendars
from portfolios.calendars import CalendarError, trading_days


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("home")


def test_chinese_holidays_are_no_trading_days(home):
    days = trading_days("cn", home)
    assert date(2024, 2, 8) in days
    assert not {date(2024, 2, 9), date(2024, 2, 12), date(2024, 2, 16)} & set(days)
    assert list(days) == sorted(set(days))
    assert days[0] == date(1990, 12, 19)
    assert days[-1] >= date(2025, 12, 31)


def test_they_are_read_from_the_file_the_second_time_and_never_import_pandas(home):
    trading_days("cn", home)
    (file,) = (home / "calendars").iterdir()
    written = file.stat().st_mtime_ns
    code = (
        "import sys; from pathlib import Path; from portfolios.calendars import trading_days;"
        f"print(len(trading_days('cn', Path({str(home)!r}))), 'pandas' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(len(trading_days("cn", home))), "False"]
    assert file.stat().st_mtime_ns == written


def test_a_damaged_file_is_made_again(home):
    good = trading_days("cn", home)
    (file,) = (home / "calendars").iterdir()
    file.write_text('["2024-01-')
    assert trading_days("cn", home) == good
    assert json.loads(file.read_text())[0] == "1990-12-19"


def test_a_market_without_a_calendar_is_a_key_error(tmp_path):
    with pytest.raises(KeyError):
        trading_days("mars", tmp_path)


def test_a_failure_says_what_went_wrong(tmp_path, monkeypatch):
    monkeypatch.setitem(calendars.EXCHANGES, "cn", "XXXX")
    with pytest.raises(CalendarError, match="XXXX"):
        trading_days("cn", tmp_path)
    assert list((tmp_path / "calendars").iterdir()) == []
