"""What was lost or repeated: the log and the orders that came from it, beside what the last checkpoints say."""

from __future__ import annotations

import threading
import time
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec
from confluent_kafka import OFFSET_BEGINNING, TopicPartition

from ginkgo_site.bench import witness
from ginkgo_site.bench.answers import Answers
from ginkgo_site.bench.ground import TOPIC
from market import bus
from market.messages import decode_price
from portfolios import checkpoints
from portfolios.kernel import state as saved
from portfolios.kernel.orders import order_id

_SETTLE_S = 60.0
Memory = witness.WitnessStrategy.Memory


@dataclass
class Log:
    """The ticks in the log: how many of each code, which of them are marked, and how many a second there were."""

    count: Counter[str] = field(default_factory=Counter)
    marked: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    rate: float = 0.0


@dataclass(frozen=True)
class Verdict:
    """Messages are those that the portfolios wanted, orders those that they had to make of them.

    `orders_lost` never came; `orders_extra` came and follow from no marked tick, or from one for the second time.
    """

    messages: int
    lost: int
    twice: int
    orders: int
    orders_lost: int
    orders_extra: int
    rate: float

    @property
    def clean(self) -> bool:
        return not (self.lost or self.twice or self.orders_lost or self.orders_extra) and self.orders > 0

    def details(self) -> dict[str, float]:
        return {
            "messages applied": self.messages,
            "lost": self.lost,
            "applied twice": self.twice,
            "orders": self.orders,
            "orders lost": self.orders_lost,
            "orders too many": self.orders_extra,
            "messages/s in the log": self.rate,
        }


def judge(codes: Mapping[str, Collection[str]], answers: Answers) -> Verdict:
    """Once the feed has ended: wait until the portfolios (their codes by id) have got to its end, and compare.

    What has not been said after a minute is lost.
    """
    log = read_log({code for each in codes.values() for code in each})
    expected = {
        portfolio_id: {order_id(portfolio_id, cause, 0) for code in each for cause in log.marked[code]}
        for portfolio_id, each in codes.items()
    }
    pause, deadline = threading.Event(), time.monotonic() + _SETTLE_S
    while True:
        answers.check()
        found = compare(codes, log, expected, answers)
        if (not found.lost and not found.orders_lost) or time.monotonic() > deadline:
            return found
        pause.wait(0.5)


def compare(
    codes: Mapping[str, Collection[str]], log: Log, expected: Mapping[str, set[str]], answers: Answers
) -> Verdict:
    """As of now."""
    lost = twice = messages = orders = orders_lost = orders_extra = 0
    for portfolio_id, wanted in codes.items():
        told = memories(portfolio_id)
        for code in wanted:
            memory = told.get(code, Memory())
            messages += memory.told
            twice += memory.twice
            lost += memory.missing + log.count[code] - memory.newest
        came = {each.order_id for each in list(answers.arrivals[portfolio_id]) if each.code in wanted}
        orders += len(came)
        orders_lost += len(expected[portfolio_id] - came)
        orders_extra += len(came - expected[portfolio_id])
    return Verdict(messages, lost, twice, orders, orders_lost, orders_extra, log.rate)


def memories(portfolio_id: str) -> dict[str, Memory]:
    """What a portfolio's last checkpoint has counted, by code."""
    loaded = checkpoints.load(portfolio_id)
    if loaded is None or not loaded.state:
        return {}
    return {row.code: msgspec.json.decode(row.memory, type=Memory) for row in saved.decode(loaded.state).watches}


def read_log(codes: Collection[str]) -> Log:
    """All of the market's topic as it is now; only these codes are counted."""
    options: dict[str, Any] = {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
    consumer = bus.make_consumer("bench.proof", **options)
    log, total = Log(), 0
    first, last = float("inf"), 0.0
    wanted = {code.encode() for code in codes}
    try:
        left = set(consumer.list_topics(TOPIC, 10).topics[TOPIC].partitions)
        consumer.assign([TopicPartition(TOPIC, partition, OFFSET_BEGINNING) for partition in left])
        while left:
            for message in consumer.consume(5000, 1.0):
                if message.error() is not None:
                    left.discard(message.partition())
                    continue
                total += 1
                at = message.timestamp()[1] / 1000
                first, last = min(first, at), max(last, at)
                if message.key() not in wanted:
                    continue
                tick = decode_price(message.value())
                log.count[tick.code] += 1
                if tick.ask_volume == witness.MARK:
                    log.marked[tick.code].append(f"{TOPIC}:{message.partition()}:{message.offset()}:0")
    finally:
        consumer.close()
    log.rate = total / (last - first) if last > first else 0.0
    return log
