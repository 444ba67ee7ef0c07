from __future__ import annotations

import logging
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from market.alerting import Alerter, Throttle
from market.messages import Alert, decode_alert


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Kept:
    """A producer's queue; `refuses` with an error."""

    def __init__(self) -> None:
        self.messages: list[tuple[str, str, Alert]] = []
        self.refuses: Exception | None = None

    def produce(self, topic: str, key: str, value: bytes) -> None:
        if self.refuses is not None:
            raise self.refuses
        self.messages.append((topic, key, decode_alert(value)))

    def poll(self, _timeout: float) -> None: ...


@pytest.fixture
def kept() -> Kept:
    return Kept()


@pytest.fixture
def alerter(kept: Kept) -> Alerter:
    return Alerter("node-1", kept)  # type: ignore[arg-type]


def test_an_alert_is_a_log_line_and_a_message_under_its_source(
    alerter: Alerter, kept: Kept, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert alerter.raise_alert("queue_full", "warning", "the queue is 70% full", queue_size=700)
    ((topic, key, alert),) = kept.messages
    assert (topic, key) == ("ginkgo.alerts", "node-1")
    assert (alert.alert_type, alert.severity, alert.source) == ("queue_full", "warning", "node-1")
    assert (alert.message, alert.details) == ("the queue is 70% full", {"queue_size": 700})
    assert caplog.messages == ["queue_full: the queue is 70% full"]


@pytest.mark.parametrize(("severity", "level"), [("info", "INFO"), ("warning", "WARNING"), ("critical", "CRITICAL")])
def test_its_severity_is_the_log_lines(
    alerter: Alerter, caplog: pytest.LogCaptureFixture, severity: Any, level: str
) -> None:
    with caplog.at_level(logging.INFO):
        alerter.raise_alert("x", severity, "m")
    assert [record.levelname for record in caplog.records] == [level]


def test_one_kind_of_one_subject_is_raised_once_in_its_interval(alerter: Alerter, kept: Kept) -> None:
    said = [alerter.raise_alert("x", "info", "m", at_most_every=60, subject=s) for s in ("a", "a", "b")]
    said.append(alerter.raise_alert("y", "info", "m", at_most_every=60, subject="a"))
    assert said == [True, False, True, True]
    assert len(kept.messages) == 3


def test_without_an_interval_each_is_raised(alerter: Alerter, kept: Kept) -> None:
    assert alerter.raise_alert("x", "info", "m") and alerter.raise_alert("x", "info", "m")
    assert len({alert.alert_id for _, _, alert in kept.messages}) == 2


@pytest.mark.parametrize("error", [BufferError("full"), KafkaException(KafkaError(-195))])
def test_a_kafka_that_does_not_take_it_costs_the_message_and_nothing_else(
    alerter: Alerter, kept: Kept, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    kept.refuses = error
    assert alerter.raise_alert("x", "critical", "the message")
    assert "x: the message" in caplog.text
    assert "was not published" in caplog.text


def test_the_throttle_counts_from_what_it_allowed() -> None:
    clock = Clock()
    throttle = Throttle(clock)
    allowed = []
    for now in (0, 5, 9.9, 10, 19, 20):
        clock.now = now
        allowed.append(throttle.allows("x", 10))
    assert allowed == [True, False, False, True, False, True]
