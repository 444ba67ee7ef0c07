"""Whether Kafka answers is known within five seconds, either way (`market.reach`)."""

from __future__ import annotations

import socket
import threading
import time
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException, Producer

from market import reach
from market.reach import Reach


class Kafka:
    """Answers while it is there."""

    def __init__(self) -> None:
        self.there = True

    def list_topics(self, _topic: str, timeout: float) -> Any:
        assert timeout <= 2
        if not self.there:
            raise KafkaException(KafkaError(KafkaError._TRANSPORT))


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(reach.time, "monotonic", lambda: now[0])
    return now


def test_one_missed_answer_is_none(clock: list[float]) -> None:
    kafka, heard = Kafka(), []
    asking = Reach(kafka, lambda *news: heard.append(news))
    kafka.there = False
    clock[0] += 2
    assert not asking.step()
    assert not asking.away and heard == []


def test_it_is_said_once_when_it_goes_and_once_when_it_is_back(clock: list[float]) -> None:
    kafka, heard = Kafka(), []
    asking = Reach(kafka, lambda *news: heard.append(news))
    assert asking.step()
    kafka.there = False
    for _ in range(6):
        clock[0] += 1
        asking.step()
    assert asking.away and heard == [(True, 0.0)]
    kafka.there = True
    clock[0] += 1
    asking.step()
    asking.step()
    assert not asking.away and heard == [(True, 0.0), (False, 7.0)]


def test_a_kafka_that_is_not_there_is_noticed_within_five_seconds() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
    noticed, stop = threading.Event(), threading.Event()
    asking = Reach(Producer({"bootstrap.servers": address, "log_level": 0}), lambda away, _: noticed.set())
    thread = threading.Thread(target=asking.run, args=(stop,))
    begun = time.monotonic()
    thread.start()
    assert noticed.wait(20)
    assert time.monotonic() - begun < 5
    stop.set()
    thread.join(10)
