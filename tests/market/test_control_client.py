"""A client that does not find its broker leaves no thread that goes on trying."""

from __future__ import annotations

import socket
import threading
from typing import Any

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.errors import KafkaError

from market.control_client import connected


def connections() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("kafka-io")]


@pytest.mark.parametrize("kind", [KafkaConsumer, KafkaProducer, KafkaAdminClient])
def test_one_that_finds_no_broker_leaves_nothing_behind(kind: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    before = connections()
    for _ in range(2):
        with pytest.raises(KafkaError):
            connected(kind, bootstrap_servers=[f"127.0.0.1:{port}"], bootstrap_timeout_ms=200, client_id="nobody")
    assert connections() == before
