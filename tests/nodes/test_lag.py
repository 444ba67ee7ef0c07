"""How far behind a node is: on a real Kafka, and the arithmetic of it."""

from __future__ import annotations

import json
from collections.abc import Callable

from nodes.lag import Growth, Lag, LagMeter, slowest
from tests.nodes.log import Log, position_of
from tests.nodes.support import Alerts, item, subscription

POSITION = ("t", 0)
NewCode = Callable[..., str]


def test_who_is_at_the_end_is_not_behind() -> None:
    growth = Growth()
    growth.note(100, {POSITION: 50})
    assert growth.lag(100, POSITION, 50) == Lag(0, 0.0)


def test_seconds_are_since_the_log_ended_where_the_reader_is() -> None:
    growth = Growth()
    for second in range(10):
        growth.note(100 + second, {POSITION: 1000 + 10 * second})
    # Its next offset is 1035: at 103 s the log ended at 1030, at 104 s beyond it.
    assert growth.lag(109, POSITION, 1035) == Lag(55, 5.0)


def test_a_log_that_begins_anew_is_measured_anew() -> None:
    growth = Growth()
    growth.note(100, {POSITION: 1000})
    growth.note(105, {POSITION: 10})
    assert growth.lag(107, POSITION, 4) == Lag(6, 2.0)


def test_a_partition_no_longer_read_is_forgotten() -> None:
    growth = Growth()
    growth.note(100, {POSITION: 1000})
    growth.note(105, {})
    assert growth.lag(105, POSITION, 0) == Lag(0, 0.0)


def test_the_slowest_counts_its_queue_where_it_was_halted_or_the_consumer(
    log: Log, alerts: Alerts, new_code: NewCode
) -> None:
    code = new_code()
    position = position_of(code)
    consumer = log.consumer(alerts)
    follower = subscription(codes=(code,))
    start = log.ends(code)
    assert consumer.attach(follower, start, 20) is not None
    assert slowest([consumer], lambda *_: None) == start
    consumer.positions = {position: 90}
    waiting = item(70, code, position[1])
    follower.batches.append([waiting._replace(cause=waiting.cause._replace(topic=position[0]))])
    assert slowest([consumer], lambda *_: None)[position] == 70
    follower.halted = {position: 60}
    assert slowest([consumer], lambda *_: None)[position] == 60
    assert slowest([consumer], lambda *_: 65)[position] == 65, "by its own word it has read on from there"


def test_it_asks_kafka_where_the_log_ends(log: Log, new_code: NewCode) -> None:
    code = new_code()
    position = position_of(code)
    log.ticks(code, range(3))
    end = log.end(position)
    meter = LagMeter("n", 5, lambda: {position: end - 3})
    try:
        assert meter.step()
        said = meter.as_metrics()
        assert json.loads(said["lag"]) == {f"{position[0]}:{position[1]}": [3, 0.0]}
        assert (said["lag_messages"], said["lag_seconds"]) == ("3", "0.0")
    finally:
        meter._disconnect()
