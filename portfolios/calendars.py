"""Trading days of each market, from `exchange_calendars`, without pandas in the process that asks.

The days are computed once in a child process (`python -m portfolios.calendars XSHG FILE`) and kept as JSON under
the home directory; beyond their end the rules take weekdays and warn (`portfolios.kernel.rules.sessions`).
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
import tempfile
from datetime import UTC, date, datetime
from importlib.metadata import version
from pathlib import Path

log = logging.getLogger(__name__)

EXCHANGES = {"cn": "XSHG", "hk": "XHKG", "us": "XNYS", "futures": "XSHG"}
"""Whose calendar a market follows. China's futures exchanges trade on the days of its stock exchanges."""

_TIMEOUT_S = 120.0


class CalendarError(RuntimeError):
    """The trading days could not be computed; the message says why."""


def trading_days(market: str, home: Path) -> tuple[date, ...]:
    """All known trading days of `market` in ascending order, kept in `home/calendars`.

    They are computed once for each release of `exchange_calendars` and each year, as some calendars reach a year ahead.
    KeyError for an unknown market, CalendarError if they cannot be had.
    """
    path = home / "calendars" / f"{EXCHANGES[market]}-{version('exchange_calendars')}-{datetime.now(UTC).year}.json"
    try:
        return _read(path)
    except FileNotFoundError:
        pass
    except (ValueError, TypeError) as error:
        log.warning("%s is not a list of days (%s): computing it again", path, error)
    _compute(EXCHANGES[market], path)
    return _read(path)


def _read(path: Path) -> tuple[date, ...]:
    return tuple(date.fromisoformat(day) for day in json.loads(path.read_text()))


def _compute(exchange: str, path: Path) -> None:
    """Lets a child process write the file; several processes may do so at once, each replaces it whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[1])
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "portfolios.calendars", exchange, str(path)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=env)
    except subprocess.TimeoutExpired as error:
        raise CalendarError(f"computing the trading days of {exchange} took over {_TIMEOUT_S:.0f} s") from error
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines() or ["no output"]
        raise CalendarError(f"cannot compute the trading days of {exchange}: {lines[-1]}")


def write(exchange: str, path: Path) -> None:
    """Writes the trading days of an exchange (its ISO code) as a JSON list, in one step."""
    import exchange_calendars

    calendar = exchange_calendars.get_calendar(exchange, start="1990-12-19")
    days = [session.date().isoformat() for session in calendar.sessions]
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w") as file:
            json.dump(days, file)
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]))
