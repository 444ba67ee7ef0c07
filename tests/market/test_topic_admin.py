"""Topics on a real Kafka."""

from __future__ import annotations

import json

import pytest

from market import topic_admin, topics
from market.bus import KafkaUnavailable
from market.topics import TOPICS, Topic
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers


def test_creating_topics_twice_changes_nothing(stack: RunningStack) -> None:
    topic_admin.create_topics()
    before = topic_admin.topic_ids()

    again = topic_admin.create_topics()

    assert set(again.values()) == {"exists"}
    assert topic_admin.topic_ids() == before
    assert before.keys() == {topic.name for topic in TOPICS}


def test_topics_have_their_partitions(stack: RunningStack) -> None:
    topic_admin.create_topics()
    found = {t.name: t.partitions for t in topic_admin.status().topics}
    assert found[topics.MARKET_DATA["cn"]] == 10
    assert found[topics.ORDERS_SUBMISSION] == 10
    assert found[topics.SYSTEM_EVENTS] == 3


def test_more_partitions_are_added_when_they_are_configured(
    stack: RunningStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    topic_admin.create_topics()
    more = topic_admin.catalogue()[topics.MARKET_DATA["us"]][1] + 1
    monkeypatch.setattr(topic_admin, "wanted", lambda: (Topic(topics.MARKET_DATA["us"], more, 1),))

    done = topic_admin.create_topics()

    assert done == {topics.MARKET_DATA["us"]: "raised"}
    assert topic_admin.catalogue()[topics.MARKET_DATA["us"]][1] == more


def test_kafka_status_is_one_json_document(stack: RunningStack) -> None:
    topic_admin.create_topics()
    done = stack.run("kafka", "status", "--json")
    found = json.loads(done.stdout)
    assert done.returncode == 0
    assert found["brokers"] == [stack.kafka]
    assert len(found["topics"]) == len(TOPICS)


def test_an_absent_kafka_is_one_line(stack: RunningStack, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("market.topic_admin.bootstrap", lambda: "127.0.0.1:1")
    monkeypatch.setattr("market.topic_admin._TIMEOUT", 1.0)
    with pytest.raises(KafkaUnavailable, match=r"^Kafka at 127\.0\.0\.1:1 does not answer") as raised:
        topic_admin.status()
    assert "\n" not in str(raised.value)
