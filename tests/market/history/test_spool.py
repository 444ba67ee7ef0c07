"""The spool: what `put` has returned from is there after any end, all of it or nothing, and it says what is in it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from market.history.spool import FILE, Next, Spool, SpoolError, look, writer_of
from tests.market.history.conftest import ROOT
from tests.market.history.samples import tick

PLACE = ("topic", 3)


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path, 10_000)
    yield made
    made.close()


def test_rows_leave_in_the_order_of_their_coming_and_only_when_they_are_done(spool: Spool) -> None:
    spool.put({"ticks": [tick(0), tick(1)], "bars": [("b",)]})
    spool.put({"ticks": [tick(2)]})
    batches = spool.oldest(100)
    assert [(each.table, len(each.rows)) for each in batches] == [("ticks", 2), ("bars", 1), ("ticks", 1)]
    assert batches[0].rows == [tick(0), tick(1)]
    assert spool.oldest(100) == batches
    spool.done(batches[:2])
    assert [each.rows for each in spool.oldest(100)] == [[tick(2)]]
    assert spool.rows == 1
    spool.done(spool.oldest(100))
    assert (spool.oldest(100), spool.rows, spool.bytes) == ([], 0, 0)


def test_of_a_large_spool_only_some_rows_are_taken_at_a_time_but_always_some(spool: Spool) -> None:
    for n in range(4):
        spool.put({"ticks": [tick(n), tick(n + 10), tick(n + 20)]})
    assert len(spool.oldest(7)) == 2
    assert len(spool.oldest(1)) == 1


def test_the_log_is_through_when_the_last_row_of_it_is(spool: Spool) -> None:
    spool.put({"ticks": [tick(0)], "bars": [("b",)]}, {PLACE: Next("log", 10)})
    spool.put({}, {PLACE: Next("log", 12)})  # messages without rows
    first, second = spool.oldest(100)
    assert spool.done([first]) == {}
    assert spool.done([second]) == {PLACE: Next("log", 12)}


def test_it_is_found_again_as_it_was(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 10_000)
    spool.put({"ticks": [tick(0)]}, {PLACE: Next("log", 10)}, {"600519.SH": b"state"})
    size = spool.bytes
    spool.close()
    again = Spool(tmp_path, 10_000)
    assert (again.rows, again.bytes) == (1, size)
    assert again.offsets() == {PLACE: Next("log", 10)}
    assert again.bars() == {"600519.SH": b"state"}
    assert [each.rows for each in again.oldest(9)] == [[tick(0)]]
    again.close()


def test_it_is_full_at_its_bound(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 500)
    assert not spool.full
    spool.put({"ticks": [tick(n) for n in range(50)]})
    assert spool.full
    spool.done(spool.oldest(100))
    assert not spool.full
    spool.close()


def test_a_put_that_fails_leaves_nothing_of_itself(spool: Spool, tmp_path: Path) -> None:
    spool.put({"ticks": [tick(0)]}, {PLACE: Next("log", 10)})
    spool._db.execute("PRAGMA max_page_count = 1")  # as a full disk says it
    with pytest.raises(SpoolError, match="full"):
        spool.put({"ticks": [tick(n) for n in range(5000)]}, {PLACE: Next("log", 99)})
    assert (spool.offsets(), spool.rows) == ({PLACE: Next("log", 10)}, 1)


def test_a_second_writer_is_refused_and_told_who_the_first_is(spool: Spool, tmp_path: Path) -> None:
    with pytest.raises(SpoolError, match=f"written by process {os.getpid()} already"):
        Spool(tmp_path, 10)
    assert writer_of(tmp_path) == os.getpid()


def test_it_can_be_looked_at_from_outside(spool: Spool, tmp_path: Path) -> None:
    spool.put({"ticks": [tick(0)]}, {PLACE: Next("log", 10)})
    spool.refuse("ticks", tick(1), "too large")
    found = look(tmp_path)
    assert (found.rows, found.refused, found.offsets) == (1, 1, {PLACE: Next("log", 10)})
    assert look(tmp_path / "nowhere").rows == 0


KILLED = """
import sys
from pathlib import Path
from market.history.spool import Next, Spool
spool = Spool(Path(sys.argv[1]), 1 << 30)
for number in range(1_000_000):
    rows = {"ticks": [(number, n) for n in range(10)]}
    spool.put(rows, {("topic", 0): Next("log", number + 1)}, {"x": b"%d" % number})
    print(number, flush=True)
"""


def test_kill_9_leaves_what_was_put_whole_and_nothing_else(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(30)][-1]
    process.send_signal(signal.SIGKILL)
    process.wait(10)
    said = max([said, *(int(line) for line in process.stdout.read().splitlines() if line.strip().isdigit())])
    process.stdout.close()
    spool = Spool(tmp_path, 1 << 30)
    offset = spool.offsets()["topic", 0].offset
    assert offset in (said + 1, said + 2)
    assert spool.bars() == {"x": b"%d" % (offset - 1)}
    rows = [row for batch in spool.oldest(10**9) for row in batch.rows]
    assert rows == [(number, n) for number in range(offset) for n in range(10)]
    spool.close()
    with sqlite3.connect(tmp_path / FILE) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
