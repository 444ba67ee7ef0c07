from __future__ import annotations

from typing import Any
from uuid import uuid4

import msgspec
import pytest

from market.bus import KafkaUnavailable
from market.messages import InterestUpdate, NodeOffline, NodeOnline
from nodes.announcer import Announcer, change
from tests.nodes.support import MORNING
from tests.support import eventually


def test_a_change_says_what_came_and_what_went() -> None:
    update = change("n1", frozenset("ab"), frozenset("bdc"), MORNING)
    assert update == InterestUpdate(timestamp=MORNING, node_id="n1", added=["c", "d"], removed=["a"])


def test_no_change_says_nothing() -> None:
    assert change("n1", frozenset("ab"), frozenset("ba"), MORNING) is None


class Listener:
    """What a feed would have heard; `away` is a Kafka that does not answer."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self.away = False
        self.closed = False

    def publish(self, topic: str, key: str, message: msgspec.Struct) -> None:
        if self.away:
            raise KafkaUnavailable("away")
        self.heard.append(message)

    def close(self) -> None:
        self.closed = True


class Scene:
    def __init__(self, interval: float = 3600) -> None:
        self.codes = frozenset({"a"})
        self.listener = Listener()
        self.announcer = Announcer("n1", str(uuid4()), lambda: self.codes, interval)
        self.announcer._publisher = self.listener  # type: ignore[assignment]

    @property
    def heard(self) -> list[Any]:
        return self.listener.heard


def test_first_it_says_that_it_is_there_and_all_that_it_wants() -> None:
    scene = Scene()
    assert scene.announcer.step()
    online, interest = scene.heard
    assert isinstance(online, NodeOnline)
    assert (interest.full, interest.codes) == (True, ["a"])


def test_then_only_changes_at_once() -> None:
    scene = Scene()
    scene.announcer.step()
    scene.announcer.step()
    assert len(scene.heard) == 2
    scene.codes = frozenset({"a", "b"})
    scene.announcer.step()
    assert (scene.heard[2].full, scene.heard[2].added) == (False, ["b"])


def test_asked_it_says_all_of_it() -> None:
    scene = Scene()
    scene.announcer.step()
    scene.announcer.request()
    scene.announcer.step()
    scene.announcer.step()
    assert [message.full for message in scene.heard[1:]] == [True, True]


def test_now_and_then_it_says_all_of_it_unasked() -> None:
    scene = Scene(interval=0)
    scene.announcer.step()
    scene.announcer.step()
    assert [message.full for message in scene.heard[1:]] == [True, True]


def test_what_kafka_may_not_have_heard_is_said_in_full_when_it_is_back() -> None:
    scene = Scene()
    scene.announcer.step()
    scene.codes = frozenset({"b"})
    scene.listener.away = True
    assert not scene.announcer.step()
    assert not scene.announcer.kafka_reachable
    scene.listener.away = False
    assert scene.announcer.step()
    assert (scene.heard[-1].full, scene.heard[-1].codes) == (True, ["b"])
    assert scene.announcer.kafka_reachable


def test_it_is_not_there_before_it_could_say_so() -> None:
    scene = Scene()
    scene.listener.away = True
    assert not scene.announcer.step()
    assert scene.heard == []


@pytest.mark.parametrize("said_hello", [True, False])
def test_its_thread_says_goodbye_if_it_said_hello(said_hello: bool) -> None:
    scene = Scene()
    scene.listener.away = not said_hello
    scene.announcer.start()
    if said_hello:
        eventually(lambda: len(scene.heard) == 2, saying="hello")
    scene.announcer.request_stop()
    scene.announcer.join(5)
    assert any(isinstance(message, NodeOffline) for message in scene.heard) == said_hello
    assert scene.listener.closed
