from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import KafkaError, KafkaException

from market.messages import decode_price
from market.poison import PoisonCounter
from nodes.joiner import Reader, plan
from nodes.subscription import Gap
from tests.nodes.support import Alerts

P, Q = ("t", 0), ("t", 1)


def test_a_partition_is_read_from_the_checkpoint_to_the_join_point() -> None:
    assert plan({P: 5, Q: 7}, {P: 9, Q: 8}, {P: (0, 9), Q: (0, 8)}).gaps == {P: Gap(5, 9), Q: Gap(7, 8)}


def test_one_that_is_up_to_date_has_no_gap() -> None:
    joined = plan({P: 9}, {P: 9}, {P: (0, 9)})
    assert (joined.gaps, joined.losses) == ({}, {})


def test_one_that_was_never_read_begins_at_the_live_end() -> None:
    joined = plan({P: None}, {P: 9}, {P: (0, 9)})
    assert (joined.gaps, joined.losses) == ({}, {})


def test_what_retention_took_is_a_loss_and_the_rest_is_read() -> None:
    joined = plan({P: 5}, {P: 20}, {P: (10, 20)})
    assert joined.gaps == {P: Gap(10, 20)}
    assert joined.losses == {P: "offsets 5 to 9 are past retention"}


def test_a_log_that_ends_below_the_offset_is_a_loss() -> None:
    joined = plan({P: 50}, {P: 20}, {P: (0, 20)})
    assert joined.gaps == {P: Gap(0, 20)}
    assert "ends at 20, below offset 50" in joined.losses[P]


def test_a_join_point_beyond_the_watermark_is_no_loss() -> None:
    """The live consumer has read on since the watermark was asked for."""
    assert plan({P: 22}, {P: 22}, {P: (0, 20)}).losses == {}


def test_a_topic_made_anew_is_a_loss_even_where_the_offsets_would_fit() -> None:
    joined = plan({P: 5}, {P: 20}, {P: (0, 20)}, frozenset({"t"}))
    assert joined.gaps == {P: Gap(0, 20)}
    assert joined.losses == {P: "the topic was created anew"}


def test_a_topic_made_anew_and_still_empty_is_a_loss_with_nothing_to_read() -> None:
    joined = plan({P: 5}, {P: 0}, {P: (0, 0)}, frozenset({"t"}))
    assert joined.gaps == {}
    assert P in joined.losses


class Fault:
    """What the client says of a partition instead of its messages."""

    def error(self) -> KafkaError:
        return KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED, "not for you")


class Stuck:
    """In the place of a Kafka client: one whose partition does not go on, be it silently or with a complaint."""

    def __init__(self, says: list[Fault]) -> None:
        self._says = says

    def assign(self, _partitions: Any) -> None: ...

    def unassign(self) -> None: ...

    def consume(self, _count: int, _timeout: float) -> list[Fault]:
        return self._says

    def poll(self, timeout: float) -> None:
        threading.Event().wait(timeout)


@pytest.fixture
def stop() -> Iterator[threading.Event]:
    """Set after a while, should nothing else end it."""
    stop = threading.Event()
    timer = threading.Timer(5, stop.set)
    timer.start()
    yield stop
    timer.cancel()


@pytest.mark.parametrize(
    ("says", "why"), [([], "nothing comes of t:0"), ([Fault()], "not for you")], ids=["silent", "complaining"]
)
def test_a_partition_that_does_not_go_on_is_given_up_and_why(
    stop: threading.Event, monkeypatch: pytest.MonkeyPatch, says: list[Fault], why: str
) -> None:
    monkeypatch.setattr("nodes.joiner._SILENCE_S", 0.1)
    reader = Reader(Stuck(says), decode_price, PoisonCounter(Alerts().alerter))  # type: ignore[arg-type]
    with pytest.raises(KafkaException, match=why):
        list(reader.read({P: Gap(0, 5)}, frozenset({b"600519.SH"}), stop))
