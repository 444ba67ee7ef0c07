"""A node's life in one process: made idle, started once, its threads named, all of them ended by its stop."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from uuid import uuid4

import pytest
from django.conf import settings

from nodes.node import Node
from portfolios import livestate


def names() -> set[str]:
    return {thread.name for thread in threading.enumerate()}


def made(home: Path) -> Node:
    return Node(f"n-{uuid4().hex[:8]}", settings.GINKGO.node, home)


def test_made_it_has_no_thread_and_no_connection(tmp_path: Path) -> None:
    """Without a server: one that tried to reach any would fail."""
    before = names()
    node = made(tmp_path)
    assert names() == before
    node.stop()  # before its start: nothing to do


@pytest.mark.servers
@pytest.mark.django_db(transaction=True)
def test_started_twice_it_warns_and_stopped_it_leaves_no_thread(
    topics_there: None, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = names()
    node = made(tmp_path)
    me = node.node_id
    caplog.set_level(logging.INFO)
    node.start()
    try:
        expected = {
            f"{thread}_{me}"
            for thread in (
                "heartbeat", "checkpointer", "market", "feedback", "schedule_updates", "announcer", "reconciler", "lag",
            )
        }  # fmt: skip
        assert expected <= names() - before
        node.start()
        assert f"ExecutionNode {me} is already running" in caplog.text
        assert livestate.client().exists(livestate.heartbeat_key(me))
    finally:
        node.stop()
    assert not [name for name in names() if me in name]
    assert not livestate.client().exists(livestate.heartbeat_key(me), livestate.metrics_key(me))
