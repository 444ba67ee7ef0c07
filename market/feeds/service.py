"""Runs one feed: claim its market, find out where its story stands, listen for interest, publish, stop in order."""

from __future__ import annotations

import logging
import threading
from collections.abc import Collection

from market.bus import KafkaUnavailable
from market.feeds.base import Feed, FeedError, Published
from market.feeds.interest import InterestListener
from market.feeds.lock_step import LockStep
from market.feeds.position import read_position
from market.feeds.publisher import Publisher
from market.feeds.status import Claim, Reporter, Stats

log = logging.getLogger(__name__)

_RETRY = 2.0


def run_feed(
    feed: Feed,
    stop: threading.Event,
    speed: float = 1.0,
    publish_all: bool = False,
    rewind: bool = False,
    lock_step: Collection[str] | None = None,
) -> None:
    """Publish `feed` until `stop` is set or its data end. `publish_all`: wanted or not; `rewind`: from its beginning,
    though the market's time may then run backwards; `lock_step`: each price waits until these portfolios (none named:
    all that are to run) are done with the one before.

    Raises FeedError. Kafka and Redis may come and go: it waits for the one and does without the other.
    """
    stats = Stats()
    claim = Claim(feed.market)
    claim.take(stop)
    ending = threading.Event()  # the helpers outlive `stop` until the last batch has arrived
    reporter = Reporter(feed.market, feed.source, stats, claim, ending)
    listener = InterestListener(feed.market, ending)
    helpers = (reporter,) if publish_all else (reporter, listener)

    def check() -> None:
        for helper in helpers:
            helper.check()

    def wanted() -> frozenset[str] | None:
        return None if publish_all else listener.wanted

    def pause(seconds: float) -> None:
        listener.changed.wait(seconds)
        listener.changed.clear()

    steps = None if lock_step is None else LockStep(feed.market, stats, stop, check, lock_step)
    publisher = Publisher(
        feed.market, stats, stop, wanted, pause, check, speed, settle=None if steps is None else steps.settle
    )
    try:
        reporter.start()
        if steps is not None and not steps.begin():
            return
        published = _position(feed, stop, stats, rewind)
        if published is None:
            return
        if not publish_all:
            listener.start()
        log.info("Feed %s of market %s goes on after %s", feed.source, feed.market, published.newest or "nothing")
        if publisher.run(feed.batches(published), frozenset(feed.codes)):
            if not stats.messages and published.newest is not None:
                raise FeedError(
                    f"the market's time is {published.newest.isoformat()} already and the data end before it: "
                    "nothing to publish (--rewind publishes them all the same)"
                )
            log.info("Feed %s has ended after %d messages", feed.source, stats.messages)
    finally:
        # Publisher first: what it still says is reported; then the claim, so that a successor finds the log complete.
        publisher.close()
        ending.set()
        stats.state = "stopped"
        for helper in helpers:
            if helper.ident is not None:
                helper.join(timeout=5)
        reporter.close()


def _position(feed: Feed, stop: threading.Event, stats: Stats, rewind: bool) -> Published | None:
    """Where the market stands; waits for Kafka. None if `stop` came before."""
    if rewind:
        return Published()
    said = False
    while not stop.is_set():
        try:
            published = read_position(feed.market)
        except KafkaUnavailable as error:
            if not said:
                log.warning("The feed waits for Kafka: %s", error)
            said = True
            stats.state = "waiting for Kafka"
            stop.wait(_RETRY)
            continue
        stats.event_time = published.newest
        return published
    return None
