"""The embedded stack with its real servers: ready, alone in its home, restarted with its data, gone without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import redis
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from ginkgo_site.stack import probes
from ginkgo_site.stack.lock import HomeLock
from tests.support import eventually
from tests.support.stack import RunningStack, read, run, running_stack

pytestmark = pytest.mark.servers

EMBEDDED: dict[str, str | None] = {"GINKGO_REDIS__HOST": None, "GINKGO_REDIS__PORT": None, "GINKGO_MYSQL__HOST": None}
"""Whatever `make test-servers` gives: this file is about the servers of our own."""


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningStack]:
    """A stack for this file alone: its servers are killed here."""
    with running_stack(tmp_path_factory.mktemp("home"), variables=EMBEDDED) as running:
        yield running


def one_line(text: str) -> str:
    lines = text.strip().splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in text
    return lines[0]


def family(supervisor: int) -> list[psutil.Process]:
    """The supervisor and everything it has started, its warden too."""
    process = psutil.Process(supervisor)
    return [process, *process.children(recursive=True)]


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def messages(bootstrap: str, topic: str) -> int:
    """How many messages the one partition of a topic holds; -1 while nobody can say."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "test", "log_level": 0})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=1.0)
    except Exception:
        return -1
    finally:
        consumer.close()
    return int(high - low)


def test_every_server_answers_at_its_address(own: RunningStack) -> None:
    assert probes.kafka(own.kafka) is None
    assert probes.redis(own.redis, own.processes()["valkey"]) is None
    assert probes.mongodb(own.mongodb) is None


def test_stack_json_holds_the_addresses_as_clients_take_them(own: RunningStack) -> None:
    data = read(own.home)
    assert data["redis"].startswith("redis://127.0.0.1:")
    assert data["mongodb"].startswith("mongodb://127.0.0.1:")
    assert data["database"] == f"sqlite:///{own.home}/ginkgo.sqlite3"
    assert data["history"] == f"sqlite:///{own.home}/history.sqlite3"
    assert not data["web"].endswith("/")
    assert set(data["processes"]) == {"kafka", "valkey", "mongodb"}


def test_servers_listen_on_this_machine_only(own: RunningStack) -> None:
    for pid in own.processes().values():
        listening = [c.laddr for c in psutil.Process(pid).net_connections("tcp") if c.status == psutil.CONN_LISTEN]
        assert listening
        assert {address.ip.removeprefix("::ffff:") for address in listening} == {"127.0.0.1"}


def test_status_is_what_the_file_says_and_what_the_servers_answer(own: RunningStack) -> None:
    result = run(own.home, "stack", "status", "--json", variables=EMBEDDED)
    assert result.returncode == 0, result.stderr
    found = json.loads(result.stdout)
    assert found["healthy"] is True
    assert found["kafka"] == own.kafka
    assert found["processes"] == own.processes()
    assert all(server["answers"] for server in found["servers"].values())


def test_a_second_stack_in_the_same_home_is_refused_in_one_line(own: RunningStack) -> None:
    for words in (("stack", "start"), ("up",)):
        result = run(own.home, *words, variables=EMBEDDED)
        assert result.returncode != 0
        assert "already runs" in one_line(result.stderr)
    assert read(own.home)["supervisor"] == own.supervisor


def test_a_process_of_this_run_finds_its_own_stack_and_not_the_other(own: RunningStack, stack: RunningStack) -> None:
    from django.conf import settings

    assert settings.GINKGO_RESOLVE().kafka == stack.kafka
    assert {own.kafka, own.redis, own.mongodb}.isdisjoint({stack.kafka, stack.redis, stack.mongodb})
    redis.Redis.from_url(own.redis).set("mine", "1")
    assert redis.Redis.from_url(stack.redis).get("mine") is None


def test_a_given_server_is_not_started_and_the_others_are(own: RunningStack, tmp_path: Path) -> None:
    host, _, port = own.redis.removeprefix("redis://").removesuffix("/0").partition(":")
    given: dict[str, str | None] = {
        "GINKGO_REDIS__HOST": host,
        "GINKGO_REDIS__PORT": port,
        "GINKGO_REDIS__DB": "1",
        "GINKGO_KAFKA__BOOTSTRAP_SERVERS": f"[{own.kafka!r}]",
    }
    with running_stack(tmp_path, given) as mixed:
        assert set(mixed.processes()) == {"mongodb"}
        assert mixed.redis == f"redis://{host}:{port}/1"
        assert mixed.kafka == own.kafka


def test_a_given_server_that_is_away_is_one_line_and_leaves_nothing(own: RunningStack, tmp_path: Path) -> None:
    away: dict[str, str | None] = {
        "GINKGO_REDIS__HOST": "127.0.0.1",
        "GINKGO_REDIS__PORT": "1",
        "GINKGO_REDIS__PASSWORD": "hush",
    }
    away["GINKGO_KAFKA__BOOTSTRAP_SERVERS"] = f"[{own.kafka!r}]"
    result = run(tmp_path, "stack", "start", variables=away)
    assert result.returncode != 0
    line = one_line(result.stderr)
    assert "given redis at redis://127.0.0.1:1/0 does not answer" in line
    assert "hush" not in "".join(path.read_text() for path in tmp_path.rglob("*.log")) + line
    assert not (tmp_path / "stack.json").exists()


def test_a_taken_port_is_one_line(own: RunningStack, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run(tmp_path, "stack", "start", variables={**EMBEDDED, "GINKGO_WEB__PORT": str(port)})
    assert result.returncode != 0
    assert f"port {port} of 127.0.0.1 is taken" in one_line(result.stderr)
    assert not (tmp_path / "stack.json").exists()


def test_killed_valkey_is_back_on_its_port_with_its_data(own: RunningStack) -> None:
    client = redis.Redis.from_url(own.redis)
    client.set("kept", "yes")
    before = own.processes()["valkey"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: probes.redis(own.redis) is None and own.processes()["valkey"] != before, timeout=10)
    assert client.get("kept") == b"yes"


def test_killed_kafka_is_back_on_its_port_with_its_data(own: RunningStack) -> None:
    admin = AdminClient({"bootstrap.servers": own.kafka})
    admin.create_topics([NewTopic("kept", 1, 1)])["kept"].result(timeout=20)
    producer = Producer({"bootstrap.servers": own.kafka, "acks": "all", "log_level": 0})
    for number in range(100):
        producer.produce("kept", str(number))
    assert producer.flush(10) == 0
    before = own.processes()["kafka"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: own.processes().get("kafka", before) != before, timeout=5)
    eventually(lambda: messages(own.kafka, "kept") == 100, timeout=30, saying="the messages back")


def test_killed_mongodb_is_back_on_its_port(own: RunningStack) -> None:
    before = own.processes()["mongodb"]
    os.kill(before, signal.SIGKILL)
    eventually(lambda: own.processes().get("mongodb", before) != before and probes.mongodb(own.mongodb) is None)


def test_kill_9_of_the_supervisor_leaves_no_process(own: RunningStack) -> None:
    processes = family(own.supervisor)
    assert len(processes) == 5  # itself, its warden, three servers
    os.kill(own.supervisor, signal.SIGKILL)
    begun = time.monotonic()
    eventually(lambda: not alive(processes), timeout=10, saying="every process gone")
    assert time.monotonic() - begun < 10
    status = run(own.home, "stack", "status", variables=EMBEDDED)
    assert status.returncode == 1
    assert "no stack runs" in status.stdout


def test_after_it_the_stack_starts_with_its_data_and_an_orderly_stop_leaves_nothing(own: RunningStack) -> None:
    started = run(own.home, "stack", "start", "--json", variables=EMBEDDED)
    assert started.returncode == 0, started.stderr
    data = json.loads(started.stdout)
    assert redis.Redis.from_url(data["redis"]).get("kept") == b"yes"
    assert messages(data["kafka"], "kept") == 100

    processes = family(data["supervisor"])
    stopped = run(own.home, "stack", "stop", "--json", variables=EMBEDDED)
    assert json.loads(stopped.stdout) == {"stopped": True}
    assert alive(processes) == []
    assert not (own.home / "stack.json").exists()
    assert "killed" not in (own.home / "logs" / "supervisor.log").read_text()


def test_a_new_supervisor_waits_for_the_remains_of_a_killed_one(tmp_path: Path) -> None:
    (tmp_path / "stack.json").write_text('{"supervisor": 999999, "supervisor_started": 1}')
    remains = HomeLock(tmp_path)  # as its warden would hold it
    threading.Timer(0.3, remains.release).start()
    begun = time.monotonic()
    HomeLock(tmp_path).release()
    assert time.monotonic() - begun > 0.2


def test_down_where_nothing_runs_says_so(tmp_path: Path) -> None:
    assert json.loads(run(tmp_path, "down", "--json", variables=EMBEDDED).stdout) == {"stopped": False}


@pytest.mark.parametrize(
    "content",
    [
        pytest.param('{"kafka": "127.0.0.1:1", "redis', id="corrupt"),
        pytest.param('["not", "an", "object"]', id="not an object"),
        pytest.param(
            '{"kafka": "127.0.0.1:1", "redis": "redis://127.0.0.1:1/0", "supervisor": 999999, "supervisor_started": 1}',
            id="of a dead supervisor",
        ),
        pytest.param(
            f'{{"kafka": "127.0.0.1:1", "supervisor": {os.getpid()}, "supervisor_started": 1.0}}',
            id="of a dead supervisor whose number another has",
        ),
    ],
)
def test_a_stack_json_that_is_no_longer_true_is_not_believed(content: str, tmp_path: Path) -> None:
    from ginkgo_site import addresses
    from ginkgo_site.config import load
    from ginkgo_site.stack import health

    (tmp_path / "stack.json").write_text(content)
    config, _ = load(environ={"GINKGO_HOME": str(tmp_path), "GINKGO_CONFIG_DIR": str(tmp_path)})
    assert addresses.resolve(config).kafka is None
    assert addresses.resolve(config).redis is None
    found = health.check(config)
    assert not found.running
    assert found.document()["kafka"] is None
