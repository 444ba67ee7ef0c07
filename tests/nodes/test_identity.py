"""On a real Redis and real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import psutil
import pytest
import redis

from nodes.identity import Identity, NodeIdInUse, ensure_free, of_this_process
from portfolios import livestate
from tests.support.stack import RunningStack


@pytest.fixture
def client(stack: RunningStack) -> redis.Redis:
    return livestate.client()


@pytest.fixture
def me() -> Identity:
    return of_this_process(f"node-{uuid4().hex[:8]}")


def claim(client: redis.Redis, me: Identity, **facts: Any) -> None:
    """The keys of somebody who runs, or ran, under this id."""
    info = {"host": me.host, "pid": me.pid, "process_started": f"{me.started:.3f}", "instance": "other", **facts}
    client.hset(livestate.node_info_key(me.node_id), mapping=info)
    client.set(livestate.heartbeat_key(me.node_id), "2026-01-01T00:00:00Z", px=30_000)


@contextmanager
def process() -> Iterator[subprocess.Popen[bytes]]:
    one = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    try:
        yield one
    finally:
        one.kill()
        one.wait()


def test_it_says_who_this_process_is(me: Identity) -> None:
    assert psutil.Process(me.pid).create_time() == me.started
    assert of_this_process("x").instance != of_this_process("x").instance


def test_an_id_that_nobody_uses_is_free(client: redis.Redis, me: Identity) -> None:
    ensure_free(me, client, interval=0.1)


def test_one_whose_process_lives_on_this_host_is_in_use(client: redis.Redis, me: Identity) -> None:
    with process() as other:
        claim(client, me, pid=other.pid, process_started=f"{psutil.Process(other.pid).create_time():.3f}")
        with pytest.raises(NodeIdInUse, match=f"process {other.pid} on this host"):
            ensure_free(me, client, interval=0.1)


def test_one_whose_process_is_dead_on_this_host_is_free_at_once_though_its_heartbeat_is_there(
    client: redis.Redis, me: Identity
) -> None:
    with process() as other:
        pass
    claim(client, me, pid=other.pid)
    ensure_free(me, client, interval=3600)


def test_a_dead_child_that_nobody_has_buried_does_not_live(client: redis.Redis, me: Identity) -> None:
    with process() as other:
        other.kill()
        zombie = psutil.Process(other.pid)
        while zombie.status() != psutil.STATUS_ZOMBIE:
            threading.Event().wait(0.01)
        claim(client, me, pid=other.pid, process_started=f"{zombie.create_time():.3f}")
        ensure_free(me, client, interval=3600)


def test_a_recycled_pid_is_another_process(client: redis.Redis, me: Identity) -> None:
    with process() as other:
        claim(client, me, pid=other.pid, process_started=f"{psutil.Process(other.pid).create_time() - 60:.3f}")
        ensure_free(me, client, interval=3600)


def test_a_heartbeat_of_another_host_that_advances_is_in_use(client: redis.Redis, me: Identity) -> None:
    claim(client, me, host="elsewhere")
    stop = threading.Event()

    def beat() -> None:
        number = 0
        while not stop.wait(0.1):
            number += 1
            client.set(livestate.heartbeat_key(me.node_id), f"beat {number}", px=30_000)

    heart = threading.Thread(target=beat)
    heart.start()
    try:
        with pytest.raises(NodeIdInUse, match="elsewhere: its heart beats"):
            ensure_free(me, client, interval=5)
    finally:
        stop.set()
        heart.join()


def test_a_heartbeat_of_another_host_that_stands_still_is_taken_over(client: redis.Redis, me: Identity) -> None:
    claim(client, me, host="elsewhere")
    ensure_free(me, client, interval=0.2)


def test_a_heartbeat_of_another_host_that_expires_meanwhile_is_taken_over(client: redis.Redis, me: Identity) -> None:
    claim(client, me, host="elsewhere")
    client.pexpire(livestate.heartbeat_key(me.node_id), 200)
    ensure_free(me, client, interval=10)


def test_an_entry_that_says_nothing_of_its_process_is_a_dead_one(client: redis.Redis, me: Identity) -> None:
    claim(client, me, pid="none")
    ensure_free(me, client, interval=3600)
