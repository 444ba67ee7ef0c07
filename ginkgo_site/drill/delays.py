"""How long after a tick its order left: both times are the log's own, in which producers stamp their messages."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from ginkgo_site.drill.oracle import records
from market import topics
from market.messages import OrderSubmission, decode_order
from market.poison import UNDECODABLE

_SETTLING_S = 2.0
"""At the beginning of a window, in which the last one is worked off."""


class Delay(NamedTuple):
    """Of one order: when its tick was produced (epoch seconds), and how many milliseconds later it was itself."""

    at: float
    ms: float


def window(seconds: float) -> tuple[float, float]:
    """Let that many seconds pass; those of them that count, as epoch seconds."""
    begun = time.time() + _SETTLING_S
    threading.Event().wait(seconds)
    return begun, time.time()


def of(codes: Mapping[str, Collection[str]]) -> list[Delay]:
    """Of all orders of these portfolios (id → codes) that a tick has caused, sent for the first time."""
    wanted = frozenset(topics.market_topic(code) for each in codes.values() for code in each)
    ticks = {
        (topic, message.partition(), message.offset()): message.timestamp()[1] / 1000
        for topic in wanted
        for message in records(topic)
    }
    found: dict[str, Delay] = {}
    for message in records(topics.ORDERS_SUBMISSION):
        try:
            order = decode_order(message.value())
        except UNDECODABLE:
            continue
        if not isinstance(order, OrderSubmission) or order.portfolio_id not in codes or order.order_id in found:
            continue
        topic, partition, offset, *_ = order.cause.split(":")
        at = ticks.get((topic, int(partition), int(offset)))
        if at is not None:
            found[order.order_id] = Delay(at, message.timestamp()[1] - at * 1000)
    return list(found.values())


def within(delays: Collection[Delay], windows: Sequence[tuple[float, float]]) -> list[float]:
    """The milliseconds of those whose tick falls into one of the windows."""
    return [each.ms for each in delays if any(begin <= each.at <= end for begin, end in windows)]
