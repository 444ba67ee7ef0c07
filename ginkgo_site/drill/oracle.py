"""The judge: what the log, the engine's tables, the broker's book and the last checkpoints say together.

* A tick is lost or told twice by the tally in the portfolio's own state, against what the feed knows Kafka to have.
* An order is lost if the surviving history decided it and the engine does not know it, and a ghost if the engine has it
  and that history does not; it was sent twice if the broker was given it, or filled it, more than once.
* An order is a stale owner's if the engine took it in after it had taken in one of a later epoch of that portfolio, and
  unlogged if the engine has it and the log has not: one that came straight, while Kafka was away, is there in the end.
* The books are right if the portfolio's own, its ledger, the engine's fills and the broker's executions, each added up
  on its own, come to the same cash and the same positions, and engine and broker have the same fills.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import pairwise
from typing import Any, NamedTuple

from confluent_kafka import OFFSET_BEGINNING, KafkaError, Message, TopicPartition

from ginkgo_site.drill import books
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.feed import Feed
from ginkgo_site.drill.ground import Ground, Witness
from ginkgo_site.drill.outcome import Outcome
from market import bus, topics
from market.messages import OrderSubmission, decode_order
from market.models import BrokerOrder, FencedMessage, Order, OutboxMessage
from market.models.cancel import CancelRequest
from market.poison import UNDECODABLE

_READING_S = 120.0


class Sent(NamedTuple):
    """One message on `orders.submission`; `at` is its time of production in seconds."""

    portfolio_id: str
    order_id: str
    at: float


def judge(name: str, ground: Ground, feed: Feed, witnesses: list[Witness]) -> Outcome:
    """Everything but the verdict on time."""
    ids = list(ground.codes)
    sent = [each for each in submissions() if each.portfolio_id in ground.codes]
    orders = {o.order_id: o for o in Order.objects.filter(portfolio_id__in=ids)}
    book = {o.order_id: o for o in BrokerOrder.objects.filter(portfolio_id__in=ids)}
    known: dict[str, int] = defaultdict(int)
    for order in orders.values():
        known[str(order.portfolio_id)] += 1
    for portfolio_id in CancelRequest.objects.filter(portfolio_id__in=ids).values_list("portfolio_id", flat=True):
        known[str(portfolio_id)] += 1
    outcome = Outcome(name=name, portfolios=len(ids), messages=sum(feed.sent.values()), orders=len(orders))
    for witness in witnesses:
        for code, tally in witness.tallies.items():
            outcome.messages_lost += tally.missing + max(0, feed.sent[code] - tally.newest)
            outcome.messages_twice += tally.twice
        outcome.orders_lost += max(0, witness.decided - known[witness.portfolio_id]) + witness.open_orders
        outcome.orders_ghost += max(0, known[witness.portfolio_id] - witness.decided)
        wrong = books.differences(witness.portfolio_id)
        outcome.books_wrong += bool(wrong)
        outcome.notes += wrong
    outcome.orders_twice = sum(o.submitted_count > 1 or o.filled_volume > o.volume for o in book.values())
    outcome.orders_lost += sum(1 for order_id in orders if order_id not in book and orders[order_id].state == "filled")
    epochs = {order_id: o.epoch for order_id, o in orders.items()}
    outcome.stale_orders = sum(stale(decisions(portfolio_id), epochs) for portfolio_id in ids)
    outcome.orders_unlogged = len(orders.keys() - {each.order_id for each in sent})
    outcome.fenced = FencedMessage.objects.filter(portfolio_id__in=ids).count()
    outcome.pause_s = longest_pause(sent)
    return outcome


def records(topic: str) -> Iterator[Message]:
    """All that a topic holds now, in its order by partition."""
    options: dict[str, Any] = {"enable.partition.eof": True, "auto.offset.reset": "earliest"}
    consumer = bus.make_consumer("drill.oracle", **options)
    try:
        partitions = consumer.list_topics(topic, timeout=10).topics[topic].partitions
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
        left, deadline = set(partitions), time.monotonic() + _READING_S
        while left:
            if time.monotonic() > deadline:
                raise DrillError(f"topic {topic} could not be read to its end within {_READING_S:g} s")
            for message in consumer.consume(2000, 1.0):
                if message.error() is None:
                    yield message
                elif message.error().code() == KafkaError._PARTITION_EOF:
                    left.discard(message.partition())
    finally:
        consumer.close()


def submissions() -> list[Sent]:
    """All orders that were ever sent, in the log's order by partition."""
    found: list[Sent] = []
    for message in records(topics.ORDERS_SUBMISSION):
        try:
            order = decode_order(message.value())
        except UNDECODABLE:
            continue
        if isinstance(order, OrderSubmission):
            found.append(Sent(order.portfolio_id, order.order_id, message.timestamp()[1] / 1000))
    return found


def decisions(portfolio_id: str) -> list[str]:
    """The orders of a portfolio as the engine took them in: by their first answers, which it numbers in that order."""
    rows = OutboxMessage.objects.filter(portfolio_id=portfolio_id).order_by("pseq")
    return list(dict.fromkeys(rows.values_list("order_id", flat=True)))


def stale(taken: Iterable[str], epochs: Mapping[str, int]) -> int:
    """How many orders of one portfolio the engine took from an owner that had been succeeded: `taken` in this order,
    each from an owner of its epoch. (An order that was cancelled before it came has none.)
    """
    newest = count = 0
    for order_id in taken:
        epoch = epochs.get(order_id, newest)
        count += epoch < newest
        newest = max(newest, epoch)
    return count


def longest_pause(sent: Iterable[Sent]) -> float:
    """Seconds between two orders of one portfolio, by the time the log gives them; a resend is not a new order."""
    times: dict[str, list[float]] = defaultdict(list)
    seen: set[str] = set()
    for each in sorted(sent, key=lambda s: s.at):
        if each.order_id not in seen:
            seen.add(each.order_id)
            times[each.portfolio_id].append(each.at)
    return max((later - earlier for at in times.values() for earlier, later in pairwise(at)), default=0)
