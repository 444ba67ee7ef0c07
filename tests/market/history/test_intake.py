"""Reading the log into the spool: where it begins, what it does when the spool is full, what it cannot read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import Consumer, TopicPartition
from kafka import KafkaAdminClient
from kafka import TopicPartition as AdminPartition

from market import topic_admin
from market.bus import bootstrap, make_consumer, partition_of
from market.history.bars import BarMaker
from market.history.intake import Intake
from market.history.rows import Row
from market.history.spool import Next, Spool
from market.messages import encode
from market.topics import MARKET_DATA
from portfolios.kernel.rules import rules_for
from tests.market import log
from tests.market.history.samples import price
from tests.market.log_support import Feed
from tests.nodes.support import MORNING, Alerts
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

TOPIC = MARKET_DATA["cn"]
RULES = rules_for("cn")


class Reading:
    """An intake on the real log, driven by the test; it begins where the log ends now, and its group is its own."""

    def __init__(self, folder: Path, bound: int = 1 << 20, offsets: dict[tuple[str, int], int] | None = None) -> None:
        self.spool = Spool(folder, bound)
        self.alerts = Alerts()
        self.group = f"test.history.{uuid4().hex[:8]}"
        ids = topic_admin.topic_ids()
        if not self.spool.offsets():
            now = {(topic, n): end for topic in ids for n, end in log.ends(topic).items() if "market" in topic}
            self.spool.put({}, {k: Next(ids[k[0]], offset) for k, offset in {**now, **(offsets or {})}.items()})
        self.intake = Intake(
            threading.Event(), self.consumer, self.spool, BarMaker(lambda market: RULES, self.spool.bars()),
            self.alerts.alerter, batch_rows=10, batch_seconds=0.2,
        )  # fmt: skip

    def consumer(self) -> Consumer:
        return make_consumer("test.history", self.group)

    def until(self, condition: Callable[[], bool]) -> None:
        def stepped() -> bool:
            self.intake.step()
            return condition()

        eventually(stepped, timeout=60)

    def ticks(self, code: str) -> list[Row]:
        return [
            row for batch in self.spool.oldest(10**6) if batch.table == "ticks" for row in batch.rows if row[0] == code
        ]

    def close(self) -> None:
        self.intake.close()
        self.spool.close()


@pytest.fixture
def code(topics: RunningStack) -> str:
    return f"{uuid4().int % 899_999 + 100_000}.SZ"


@pytest.fixture
def feed(topics: RunningStack) -> Feed:
    return Feed(MORNING)


@pytest.fixture
def reading(tmp_path: Path, topics: RunningStack) -> Iterator[Reading]:
    made = Reading(tmp_path)
    yield made
    made.close()


def test_a_full_spool_is_not_read_into_and_nothing_is_dropped(
    tmp_path: Path, topics: RunningStack, feed: Feed, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("market.history.intake._RETRY", 0.05)
    monkeypatch.setattr("market.history.intake._READ", 20)
    reading = Reading(tmp_path, bound=1000)
    try:
        for n in range(60):
            feed.write(TOPIC, code, encode(price(n, code=code)))
        reading.until(lambda: reading.spool.full)
        held = reading.spool.rows
        for _ in range(5):
            assert reading.intake.step() == 0
        assert reading.spool.rows == held
        seen: list[Row] = []

        def drained() -> bool:
            if batches := reading.spool.oldest(10**6):
                seen.extend(row for each in batches if each.table == "ticks" for row in each.rows if row[0] == code)
                reading.spool.done(batches)
            return len(seen) >= 60

        reading.until(drained)
        assert len(seen) == len(set(seen)) == 60
    finally:
        reading.close()


def test_it_goes_on_where_its_spool_says_and_a_bar_goes_on_with_it(
    tmp_path: Path, topics: RunningStack, feed: Feed, code: str
) -> None:
    first = Reading(tmp_path)
    for n in range(5):
        feed.write(TOPIC, code, encode(price(n / 4, 10 + n, code=code)))
    first.until(lambda: len(first.ticks(code)) == 5)
    first.close()
    for n in range(5, 10):
        feed.write(TOPIC, code, encode(price(n / 4, 10 + n, code=code)))
    second = Reading(tmp_path)
    second.until(lambda: len(second.ticks(code)) == 10)
    rows = [row for batch in second.spool.oldest(10**6) if batch.table == "bars" for row in batch.rows]
    second.close()
    minutes = [(row[5], row[8]) for row in rows if row[0] == code and row[1] == "1m"]
    assert minutes == [(10.0, 10.0), (11.0, 14.0), (15.0, 18.0)]  # open and close


def test_what_the_server_has_is_committed_for_whoever_comes_after_this_machine(
    reading: Reading, feed: Feed, code: str
) -> None:
    place = feed.write(TOPIC, code, encode(price(0, code=code)))
    offset = int(place.rpartition(":")[2])
    reading.until(lambda: len(reading.ticks(code)) == 1)
    number = partition_of(code, 10)
    asked = make_consumer("test.committed", reading.group)
    assert asked.committed([TopicPartition(TOPIC, number)], timeout=10)[0].offset < 0
    reading.intake.commit(reading.spool.done(reading.spool.oldest(10**6)))

    def committed() -> bool:
        reading.intake.step()
        found: int = asked.committed([TopicPartition(TOPIC, number)], timeout=10)[0].offset
        return found == offset + 1

    eventually(committed, timeout=20)
    asked.close()


def test_a_message_that_cannot_be_decoded_is_skipped_and_told(reading: Reading, feed: Feed, code: str) -> None:
    feed.write(TOPIC, code, b"{no")
    feed.write(TOPIC, code, encode(price(0, volume=2**63, code=code)))
    feed.write(TOPIC, code, encode(price(1, code=code)))
    reading.until(lambda: len(reading.ticks(code)) == 1)
    assert "data_anomaly" in reading.alerts.types


def test_a_log_that_ends_before_the_next_offset_is_a_gap_and_is_read_from_its_beginning(
    tmp_path: Path, topics: RunningStack, feed: Feed, code: str
) -> None:
    number = partition_of(code, 10)
    feed.write(TOPIC, code, encode(price(0, code=code)))
    reading = Reading(tmp_path, offsets={(TOPIC, number): 10**9})
    reading.until(lambda: len(reading.ticks(code)) == 1)
    reading.close()
    assert [(each.alert_type, each.severity) for each in reading.alerts.raised][:1] == [("data_gap", "critical")]


def test_what_is_gone_from_the_log_is_nothing_to_wait_for(tmp_path: Path, feed: Feed, code: str) -> None:
    feed.write(TOPIC, code, encode(price(1, code=code)))
    place = TOPIC, partition_of(code, 10)
    end = log.ends(TOPIC)[place[1]]
    admin = KafkaAdminClient(bootstrap_servers=bootstrap())
    admin.delete_records({AdminPartition(*place): end})
    admin.close()
    fresh = Reading(tmp_path, offsets={place: 0})
    try:
        fresh.until(lambda: fresh.spool.offsets()[place].offset == end)
    finally:
        fresh.close()
