"""A feed on real servers: the log is the feed's story, whatever happens to the feed or to Kafka."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path

import pytest
from django.conf import settings

from ginkgo_site.supervisor.detach import command
from market import bus, topic_admin, topics
from market.control import ControlPublisher
from market.feeds.base import FeedError, Published
from market.feeds.interest import InterestListener
from market.feeds.position import position_key, read_position
from market.feeds.replay import ReplayFeed
from market.feeds.sample import CODES, SampleFeed
from market.feeds.service import run_feed
from market.feeds.status import read_status
from market.messages import InterestUpdate, decode_price
from portfolios import livestate
from portfolios.calendars import trading_days
from portfolios.kernel.events import PriceUpdate
from tests.market import log
from tests.market.log_support import Feed
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

TOPIC = topics.MARKET_DATA["cn"]


@pytest.fixture(autouse=True)
def _topics(stack: RunningStack) -> None:
    topic_admin.create_topics()


class Running:
    """`run_feed` in a thread of this process."""

    def __init__(self, feed: SampleFeed | ReplayFeed, **options: object) -> None:
        self.stop_event = threading.Event()
        self.error: FeedError | None = None
        self._feed, self._options = feed, options
        self._thread = threading.Thread(target=self._run, name="test_feed")
        self._thread.start()

    def _run(self) -> None:
        try:
            run_feed(self._feed, self.stop_event, **self._options)  # type: ignore[arg-type]
        except FeedError as error:
            self.error = error

    def join(self, timeout: float = 30) -> None:
        self._thread.join(timeout)
        assert not self._thread.is_alive()

    def stop(self) -> None:
        self.stop_event.set()
        self.join()


@pytest.fixture
def running() -> Iterator[list[Running]]:
    feeds: list[Running] = []
    yield feeds
    for feed in feeds:
        feed.stop()


def _sample() -> SampleFeed:
    return SampleFeed(trading_days=trading_days("cn", settings.GINKGO.home), seed=settings.GINKGO.feed.seed)


def _published(since: dict[int, int]) -> list[PriceUpdate]:
    ticks = [decode_price(message.value) for message in log.read(TOPIC, since)]
    return _in_order(ticks)


def _story(after: Published, count: int) -> list[PriceUpdate]:
    ticks = (tick for batch in _sample().batches(after) for tick in batch.ticks)
    return _in_order(islice(ticks, count))


def _in_order(ticks: Iterable[PriceUpdate]) -> list[PriceUpdate]:
    """By time; the codes of one moment are told in another order where the sample's days have ended."""
    return sorted(ticks, key=lambda tick: (tick.timestamp, CODES.index(tick.code)))


def _start(stack: RunningStack, *words: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command("feed", "start", *words), env=stack.environment, stdin=subprocess.DEVNULL)


def test_a_killed_feed_goes_on_without_a_gap_a_repeat_or_a_step_back(stack: RunningStack) -> None:
    before, since = read_position("cn"), log.ends(TOPIC)

    first = _start(stack, "--source", "sample", "--all", "--speed", "200")
    try:
        eventually(lambda: len(_published(since)) > 150, timeout=60, saying="ticks of the first feed")
    finally:
        first.kill()
        first.wait()
    reached = len(_published(since))
    second = _start(stack, "--source", "sample", "--all", "--speed", "200")
    try:
        eventually(lambda: len(_published(since)) > reached + 150, timeout=60, saying="ticks of the second feed")
    finally:
        second.terminate()
        assert second.wait(timeout=30) == 0

    told = _published(since)
    assert told == _story(before, len(told))


def test_each_code_has_its_partition_and_its_key(stack: RunningStack, running: list[Running]) -> None:
    since = log.ends(TOPIC)
    running.append(Running(_sample(), speed=200.0, publish_all=True))
    eventually(lambda: len(log.read(TOPIC, since)) > 50, timeout=30)
    running[0].stop()
    for message in log.read(TOPIC, since):
        assert decode_price(message.value).code == message.key
        assert message.partition == bus.partition_of(message.key, 10)
        assert set(json.loads(message.value)) >= {"_v", "event_type", "timestamp", "code", "price", "prev_close"}


def test_it_waits_until_somebody_is_interested_and_publishes_only_that(
    stack: RunningStack, running: list[Running]
) -> None:
    since = log.ends(TOPIC)
    publisher = ControlPublisher("test.node")
    running.append(Running(_sample(), speed=100.0))
    eventually(lambda: (read_status() or {}).get("state") == "waiting for interest", timeout=30)
    stood = read_position("cn").newest

    def is_asked() -> bool:
        keys = [message.key for message in log.read(topics.SYSTEM_EVENTS, asked)]
        return "feed.cn" in keys

    asked: dict[int, int] = {}
    eventually(is_asked, timeout=10, saying="the request for interest")
    assert log.ends(TOPIC) == since
    try:
        wish = InterestUpdate(timestamp=datetime.now(UTC), node_id="test.node", full=True, codes=["000001.SZ"])
        publisher.publish(topics.SYSTEM_EVENTS, "test.node", wish)
        told = eventually(lambda: _published(since), timeout=20)
        assert {tick.code for tick in told} == {"000001.SZ"}
        assert stood is None or told[0].timestamp > stood
        running[0].stop()
        silent = InterestUpdate(timestamp=datetime.now(UTC), node_id="test.node", full=True)
        publisher.publish(topics.SYSTEM_EVENTS, "test.node", silent)
    finally:
        publisher.close()


def test_a_killed_kafka_costs_no_tick_and_no_order(stack: RunningStack, running: list[Running]) -> None:
    before, since = read_position("cn"), log.ends(TOPIC)
    running.append(Running(_sample(), speed=40.0, publish_all=True))
    eventually(lambda: len(_published(since)) > 50, timeout=30)

    killed = stack.processes()["kafka"]
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: stack.processes().get("kafka", killed) != killed, timeout=60, saying="another Kafka")
    reached = (read_status() or {})["messages"]
    eventually(lambda: (read_status() or {})["messages"] > reached + 200, timeout=90, saying="ticks after the restart")
    running[0].stop()

    told = _published(since)
    assert told == _story(before, len(told))


def test_where_the_topic_was_emptied_redis_knows_the_time(stack: RunningStack) -> None:
    moment = datetime(2030, 1, 4, 7, 0, tzinfo=UTC)
    livestate.client().set(position_key("futures"), moment.isoformat())
    assert read_position("futures") == Published(moment, {}, whole=True)


def test_a_second_feed_of_a_market_is_refused(stack: RunningStack, running: list[Running]) -> None:
    running.append(Running(_sample(), speed=1.0, publish_all=True))
    eventually(lambda: (read_status() or {}).get("state") == "publishing", timeout=30)
    second = stack.run("feed", "start", "--source", "sample", "--all")
    assert second.returncode == 1
    assert f"a feed of market cn already runs: process {os.getpid()} on" in second.stderr
    assert "Traceback" not in second.stderr


def test_a_replay_of_the_past_says_that_there_is_nothing_to_publish(stack: RunningStack, tmp_path: Path) -> None:
    file = tmp_path / "hk.csv"
    file.write_text("code,timestamp,price\n00700.HK,2024-01-02T10:00:00+08:00,300\n")
    stop = threading.Event()
    run_feed(ReplayFeed(file), stop, publish_all=True)
    assert read_position("hk").newest == datetime(2024, 1, 2, 2, 0, tzinfo=UTC)
    with pytest.raises(FeedError, match="nothing to publish"):
        run_feed(ReplayFeed(file), stop, publish_all=True)
    run_feed(ReplayFeed(file), stop, publish_all=True, rewind=True)


def test_what_is_no_system_event_is_alerted_and_skipped() -> None:
    before = log.ends(topics.ALERTS)
    stop = threading.Event()
    listener = InterestListener("cn", stop)
    listener.start()
    publisher = ControlPublisher("test")

    def wants(code: str) -> bool:
        update = InterestUpdate(timestamp=datetime.now(UTC), node_id="n1", full=True, codes=[code])
        publisher.publish(topics.SYSTEM_EVENTS, "n1", update)
        return code in listener.wanted

    try:
        eventually(lambda: wants("600519.SH"), 30, interval=0.2, saying="it listens")
        where = Feed(datetime.now(UTC)).write(topics.SYSTEM_EVENTS, "x", b"no event")
        eventually(lambda: wants("000001.SZ"), 30, interval=0.2, saying="what came after it")
        eventually(lambda: any(where in each.value.decode() for each in log.read(topics.ALERTS, before)), 20)
    finally:
        stop.set()
        listener.join(10)
        publisher.close()
