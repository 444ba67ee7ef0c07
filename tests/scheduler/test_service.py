"""`ginkgo scheduler run` as a process on real servers: quick, regular, and safe to kill at any moment."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import redis
import sqlalchemy
from celery import Celery
from django.conf import settings
from kafka import KafkaProducer

from ginkgo_site.supervisor.detach import command
from market import topics
from market.control import ControlPublisher
from market.messages import ControlCommand, NodeOnline
from portfolios import livestate
from scheduler import requests
from tests.scheduler.conftest import Herd
from tests.support import eventually
from tests.support.stack import RunningStack, run

FAST = {
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "1",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "3600",
    "GINKGO_SCHEDULER__LEASE": "2",
}

NOWHERE = {"GINKGO_REDIS__HOST": "127.0.0.1", "GINKGO_REDIS__PORT": "1"}

SEED = """
from django.contrib.auth.models import User
from django.apps import apps
from django.db import connection
from django_celery_beat.models import IntervalSchedule, PeriodicTask
from portfolios.models import Account, Assignment, Checkpoint, Portfolio
# Whatever other tests left in this home goes, orders before the portfolios that they protect.
with connection.constraint_checks_disabled():
    for app in ("market", "scheduler", "portfolios"):
        for model in apps.get_app_config(app).get_models():
            model._base_manager.all()._raw_delete("default")
PeriodicTask.objects.all().delete()
# Each interval twice, as operators leave them who edit one in the admin.
IntervalSchedule.objects.all().delete()
IntervalSchedule.objects.bulk_create(IntervalSchedule(every=n, period="seconds") for n in (1, 600, 3600) for _ in "ab")
owner, _ = User.objects.get_or_create(username="trader")
account = Account.paper(owner, "cn")
made = [Portfolio(id=f"p{i:04}", name=f"p{i}", owner=owner, initial_cash=1, config={"codes": []},
                  account=account, desired_state="running") for i in range(COUNT)]
Portfolio.objects.bulk_create(made)
Assignment.objects.bulk_create([Assignment(portfolio=p) for p in made])
Checkpoint.objects.bulk_create([Checkpoint(portfolio=p) for p in made])
"""


class Platform:
    """The processes' own database, seen from outside, and the herd they schedule."""

    def __init__(self, stack: RunningStack) -> None:
        self.stack = stack
        self.redis = livestate.client()
        self.herd = Herd(self.redis)
        self.engine = sqlalchemy.create_engine(settings.GINKGO_RESOLVE().database)

    def seed(self, portfolios: int) -> None:
        self.redis.flushdb()
        done = self.stack.run("shell", "-v", "0", "-c", SEED.replace("COUNT", str(portfolios)))
        assert done.returncode == 0, done.stderr

    def rows(self, query: str) -> list[Any]:
        with self.engine.connect() as connection:
            return [tuple(row) for row in connection.execute(sqlalchemy.text(query))]

    def placed(self) -> int:
        return int(self.rows("SELECT COUNT(*) FROM portfolios_assignment WHERE node_id <> ''")[0][0])

    def placed_on(self, node_id: str, places: int = 5) -> int:
        """How many are placed while this node's heart goes on beating, however long a process takes to start."""
        self.herd.beat(node_id, places=places)
        return self.placed()

    def status(self) -> dict[str, str]:
        return self.redis.hgetall(livestate.SCHEDULER_STATUS)  # type: ignore[return-value]

    def answers(self) -> bool:
        try:
            return bool(self.redis.ping())
        except redis.RedisError:
            return False

    def scheduler(self, log: Path, *words: str, **variables: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        return self.process(log, command("scheduler", "run", *words), variables)

    def celery(self, log: Path, *words: str, **variables: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
        """Plain Celery, as somebody runs it who knows Celery and not our commands."""
        return self.process(log, [sys.executable, "-m", "celery", "-A", "ginkgo_site", *words], variables)

    @contextmanager
    def process(self, log: Path, words: list[str], variables: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
        with log.open("wb") as file:
            process = subprocess.Popen(
                words,
                env={**self.stack.environment, **FAST, **variables},
                stdout=file,
                stderr=file,
                start_new_session=True,
            )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


@pytest.fixture(scope="module")
def platform(servers: RunningStack) -> Iterator[Platform]:
    done = servers.run("migrate", "-v", "0")
    assert done.returncode == 0, done.stderr
    made = Platform(servers)
    yield made
    made.engine.dispose()
    made.redis.flushdb()


def running(platform: Platform) -> bool:
    return platform.status().get("scheduler_status") == "running"


@pytest.mark.servers
def test_from_first_heartbeat_to_placement_to_a_clean_stop(platform: Platform, tmp_path: Path) -> None:
    platform.seed(1)
    log = tmp_path / "run.log"
    # The checks are out of the picture: what is seen at once is seen by the node's own word.
    with platform.scheduler(log, GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL="600") as process:
        eventually(lambda: running(platform), timeout=30, saying="the scheduler running")
        name = f"scheduler@{socket.gethostname()}"
        probe = Celery("probe", broker=platform.stack.redis, set_as_current=False)
        eventually(lambda: probe.control.ping([name], timeout=1), timeout=20, saying="its worker, as Flower sees it")
        probe.close()
        publisher = ControlPublisher("test")
        publisher.publish(topics.SYSTEM_EVENTS, "x", NodeOnline(timestamp=datetime.now(UTC), node_id="x", instance="x"))

        began = time.monotonic()
        platform.herd.beat("n1")
        publisher.publish(
            topics.SYSTEM_EVENTS, "n1", NodeOnline(timestamp=datetime.now(UTC), node_id="n1", instance="1")
        )
        eventually(platform.placed, timeout=10, interval=0.02)
        took = time.monotonic() - began
        publisher.close()
        assert platform.rows("SELECT node_id, epoch FROM portfolios_assignment") == [("n1", 1)]
        assert took < 2.5

        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    assert platform.status()["scheduler_status"] == "stopped"
    said = log.read_text()
    assert "Detected new ExecutionNode: n1" in said
    assert "Traceback" not in said


def test_celerys_own_worker_on_the_schedulers_queue_is_as_quick(platform: Platform, tmp_path: Path) -> None:
    platform.seed(2)
    log = tmp_path / "worker.log"
    slow = {"GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "600"}
    words = ("worker", "-Q", "scheduler", "-l", "info")
    with platform.celery(log, *words, **slow) as process:
        # There is no beat: the first round is the worker's own.
        eventually(lambda: platform.placed_on("n1", places=1) == 1, timeout=90, saying="the round at the start")
        eventually(lambda: running(platform), saying="its word that it runs")
        publisher = ControlPublisher("test")

        def online(node_id: str) -> None:
            message = NodeOnline(timestamp=datetime.now(UTC), node_id=node_id, instance="1")
            publisher.publish(topics.SYSTEM_EVENTS, node_id, message)

        def heard() -> bool:
            online("x")
            return platform.status().get("last_trigger") == "node.online x"

        eventually(heard, timeout=30, interval=0.5, saying="its ear on system events")
        began = time.monotonic()
        platform.herd.beat("n1", "n2", places=1)
        online("n2")
        eventually(lambda: platform.placed() == 2, timeout=10, interval=0.02)
        assert time.monotonic() - began < 2.5

        asked = ControlCommand(
            timestamp=datetime.now(UTC), command_id="by-kafka", command_type="portfolio.stop", target_id="p0000"
        )
        publisher.publish(topics.CONTROL_COMMANDS, "p0000", asked)
        fate = "SELECT state FROM portfolios_command WHERE command_id = 'by-kafka'"
        eventually(lambda: platform.rows(fate) == [("done",)], timeout=10, saying="the command by Kafka's door")
        publisher.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=20) == 0
    assert platform.status()["scheduler_status"] == "stopped"
    assert "Traceback" not in log.read_text()


def test_celerys_own_beat_and_worker_check_regularly(platform: Platform, tmp_path: Path) -> None:
    platform.seed(1)
    with platform.celery(tmp_path / "beat.log", "beat", "--schedule", str(tmp_path / "unused")) as beat:
        seeded = "SELECT COUNT(*) FROM django_celery_beat_periodictask WHERE name LIKE 'scheduler: %'"
        eventually(lambda: platform.rows(seeded) == [(2,)], timeout=60, saying="beat's own seed")
        with platform.celery(tmp_path / "worker.log", "worker", "-Q", "scheduler"):
            eventually(lambda: platform.placed_on("n1"), timeout=90)
            runs = "SELECT total_run_count FROM django_celery_beat_periodictask WHERE name LIKE '%heartbeats'"
            eventually(lambda: platform.redis.llen("scheduler") == 0, timeout=20, saying="its tasks taken")
            seen: set[str] = set()
            eventually(lambda: seen.add(platform.status()["last_check"]) or len(seen) >= 4, timeout=30, interval=0.02)
        beat.send_signal(signal.SIGTERM)
        assert beat.wait(timeout=20) == 0
    assert platform.rows(runs)[0][0] >= 3
    assert "Traceback" not in (tmp_path / "worker.log").read_text()


def test_a_worker_of_another_queue_has_nothing_of_the_scheduler(platform: Platform, tmp_path: Path) -> None:
    platform.seed(1)
    probe = Celery("probe", broker=platform.stack.redis, set_as_current=False)
    with platform.celery(tmp_path / "worker.log", "worker", "-Q", "other", "-n", "other@test"):
        eventually(lambda: probe.control.ping(["other@test"], timeout=1), timeout=90, saying="the worker")
        assert platform.placed_on("n1") == 0
        assert platform.status() == {}
    probe.close()


def test_celerys_own_worker_says_what_to_do_without_tables(tmp_path: Path) -> None:
    variables = {"GINKGO_MYSQL__DATABASE": "mysql", "GINKGO_HOME": str(tmp_path)}
    words = [sys.executable, "-m", "celery", "-A", "ginkgo_site", "worker", "-Q", "scheduler"]
    environment = {**os.environ, **variables}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "the database has no tables yet: run 'ginkgo data init'" in done.stderr
    assert "Traceback" not in done.stderr


def test_beat_keeps_its_interval_and_survives_an_emptied_redis(platform: Platform, tmp_path: Path) -> None:
    platform.seed(1)
    platform.herd.beat("n1")
    with platform.scheduler(tmp_path / "run.log"):
        eventually(platform.placed, timeout=30)
        seen: list[float] = []

        def another_check() -> bool:
            at = platform.status().get("last_check", "")
            moment = datetime.fromisoformat(at).timestamp() if at else 0.0
            if moment and moment not in seen:
                seen.append(moment)
            return len(seen) >= 6

        eventually(another_check, timeout=20, interval=0.02)
        assert seen[-1] - seen[0] < 9, "five checks at one a second"

        platform.redis.flushdb()
        platform.herd.beat("n1")
        eventually(lambda: platform.redis.hgetall(livestate.PLAN) == {"p0000": "n1"}, timeout=15)
        assert platform.rows("SELECT node_id, epoch FROM portfolios_assignment") == [("n1", 1)]
        assert requests.request_tick("after the flush")
        # Or a round that was under way just then went round again for it.
        named = ("after the flush", "request")
        eventually(
            lambda: platform.status().get("last_trigger") in named, timeout=20, saying="Celery delivers as before"
        )


def test_when_celerys_worker_fails_it_goes_on_with_another(platform: Platform, tmp_path: Path) -> None:
    """With a message that waits in it unacknowledged, Celery 5.7's worker ends when its connection is lost."""
    platform.seed(1)
    probe = Celery("probe", broker=platform.stack.redis, set_as_current=False)
    with platform.scheduler(tmp_path / "run.log") as process:
        eventually(lambda: running(platform), timeout=30, saying="the scheduler running")
        probe.send_task(requests.TICK, countdown=3600, queue="scheduler")
        eventually(lambda: platform.redis.hlen("unacked") == 1, timeout=20, saying="the waiting one taken")
        server = platform.stack.processes().get("valkey")
        if server is not None:  # a given one is not ours to kill
            os.kill(server, signal.SIGKILL)
            eventually(platform.answers, timeout=30, saying="its successor")
        platform.redis.flushdb()
        named = ("after the fault", "request")

        def delivers() -> bool:  # one message may be lost with its Redis; not one after the other
            return requests.request_tick("after the fault") and platform.status().get("last_trigger") in named

        eventually(delivers, timeout=30, interval=0.5, saying="Celery delivers as before")
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 0
    probe.close()
    assert "Traceback" not in (tmp_path / "run.log").read_text()


@pytest.mark.slow
def test_by_default_fifty_portfolios_are_balanced_on_ten_nodes_and_on_one_more(
    platform: Platform, tmp_path: Path
) -> None:
    """At the intervals that users have: a check every 5 s, a tick every 30 s."""
    platform.seed(50)
    nodes = [f"n{number:02}" for number in range(10)]
    places = {"places": 9}
    defaults = {name: str(getattr(settings.GINKGO.scheduler, name.rpartition("__")[2].lower())) for name in FAST}

    def shares() -> list[int]:
        counted = "SELECT node_id, COUNT(*) FROM portfolios_assignment WHERE node_id <> '' GROUP BY node_id"
        return sorted(count for _, count in platform.rows(counted))

    def seen(node_id: str) -> bool:
        platform.herd.beat(*nodes, **places)  # each lives for 30 s by one beat
        return bool(platform.rows(f"SELECT 1 FROM scheduler_node WHERE node_id = '{node_id}'"))

    platform.herd.beat(*nodes, **places)
    with platform.scheduler(tmp_path / "run.log", **defaults):
        eventually(lambda: shares() == [5] * 10, timeout=40, saying="five on each")
        nodes.append("new")
        platform.herd.beat("new", **places)
        began = time.monotonic()
        eventually(lambda: seen("new"), timeout=30, interval=0.1)
        assert time.monotonic() - began < 10

        def even() -> bool:
            platform.herd.beat(*nodes, **places)
            return shares() == [4] * 5 + [5] * 6

        eventually(even, timeout=75, interval=0.5, saying="its share, once the sources' time to hand over is up")


@pytest.mark.servers
def test_two_schedulers_and_one_killed_in_the_middle_give_each_portfolio_one_owner_once(
    platform: Platform, tmp_path: Path
) -> None:
    platform.seed(200)
    platform.herd.beat("n1", "n2", places=150)
    with (
        platform.scheduler(tmp_path / "a.log", "--hostname", "scheduler-a@test") as first,
        platform.scheduler(tmp_path / "b.log", "--hostname", "scheduler-b@test"),
    ):
        eventually(lambda: platform.placed() >= 20, timeout=40, interval=0.01)
        first.kill()
        in_the_middle = platform.placed()
        eventually(lambda: platform.placed() == 200, timeout=40)
        eventually(lambda: platform.redis.hlen(livestate.PLAN) == 200, timeout=10)
    assert in_the_middle < 200
    assert platform.rows("SELECT DISTINCT epoch FROM portfolios_assignment") == [(1,)]
    shares = dict(platform.rows("SELECT node_id, COUNT(*) FROM portfolios_assignment GROUP BY node_id"))
    # One that a round had under way as it lost its lease may lie where the next round had not reckoned with it.
    assert sum(shares.values()) == 200 and abs(shares["n1"] - shares["n2"]) <= 2
    last = platform.rows("SELECT placements FROM scheduler_plan ORDER BY version DESC")[0][0]
    assert len(json.loads(last)) == 200


@pytest.mark.servers
def test_a_planned_move_ends_as_soon_as_the_source_hands_over_or_its_time_is_up(
    platform: Platform, tmp_path: Path
) -> None:
    platform.seed(2)
    platform.herd.beat("n1")
    variables = {
        "GINKGO_SCHEDULER__MOVE_TIMEOUT": "4",
        "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "60",
        "GINKGO_SCHEDULER__IMBALANCE_THRESHOLD": "2",  # the only moves are those that are asked for
    }
    with platform.scheduler(tmp_path / "run.log", **variables):
        eventually(lambda: platform.placed() == 2, timeout=30)
        platform.herd.beat("n2")
        assert requests.request_tick("n2 is there")
        eventually(lambda: len(platform.rows("SELECT node_id FROM scheduler_node")) == 2)
        for portfolio_id in ("p0000", "p0001"):
            words = ("scheduler", "migrate", portfolio_id, "--to", "n2")
            done = run(platform.stack.home, *words, variables=variables)
            assert done.returncode == 0, done.stderr

        # The source of the first answers, as a node does: one transaction. That of the second says nothing.
        with platform.engine.begin() as connection:
            for table, change in (("assignment", "node_id = 'n2', epoch = 2"), ("checkpoint", "epoch = 2")):
                statement = f"UPDATE portfolios_{table} SET {change} WHERE portfolio_id = 'p0000' AND epoch = 1"
                connection.execute(sqlalchemy.text(statement))
        began = time.monotonic()
        eventually(lambda: [c["target_id"] for c in platform.herd.queue("n2")][:1] == ["p0000"], interval=0.02)
        assert time.monotonic() - began < 2
        eventually(lambda: platform.rows("SELECT node_id FROM portfolios_assignment") == [("n2",)] * 2, timeout=15)
        eventually(lambda: platform.rows("SELECT * FROM scheduler_plannedmove") == [], timeout=10, saying="both closed")
    owners = platform.rows("SELECT portfolio_id, node_id, epoch FROM portfolios_assignment ORDER BY portfolio_id")
    assert owners == [("p0000", "n2", 2), ("p0001", "n2", 2)]


def test_what_a_foreign_producer_asks_is_done_once_even_if_no_scheduler_ran_just_then(
    platform: Platform, tmp_path: Path
) -> None:
    platform.seed(1)
    platform.herd.beat("n1")
    producer = KafkaProducer(bootstrap_servers=platform.stack.kafka.split(","), acks="all")

    def ask(kind: str, command_id: str, topic: str = topics.CONTROL_COMMANDS) -> None:
        message = {
            "_v": 1, "event_type": "control_command", "timestamp": datetime.now(UTC).isoformat(),
            "command_id": command_id, "command_type": kind, "target_id": "p0000", "params": {}, "extra": "ignored",
        }  # fmt: skip
        producer.send(topic, json.dumps(message).encode(), key=b"p0000").get(10)

    def fates() -> dict[str, str]:
        ours = "command_id IN ('stop', 'start', 'dance')"
        return dict(platform.rows(f"SELECT command_id, state FROM portfolios_command WHERE {ours}"))

    def wanted() -> str:
        return str(platform.rows("SELECT desired_state FROM portfolios_portfolio")[0][0])

    ask("portfolio.stop", "stop")
    with platform.scheduler(tmp_path / "run.log"):
        eventually(lambda: fates() == {"stop": "done"}, timeout=40, saying="what was asked before it ran")
        assert wanted() == "stopped"
        ask("portfolio.start", "start", topics.SCHEDULE_UPDATES)
        ask("portfolio.stop", "stop")
        ask("portfolio.dance", "dance")
        done = {"stop": "done", "start": "done", "dance": "rejected"}
        eventually(lambda: fates() == done, timeout=20, saying="the rest")
        eventually(platform.placed, timeout=20, saying="it placed")
        assert wanted() == "running"
    producer.close()
    assert "Unknown command: portfolio.dance" in (tmp_path / "run.log").read_text()


def test_without_tables_it_says_what_to_do(tmp_path: Path) -> None:
    # Where a MySQL is given its own `mysql` is a database without our tables; an embedded one is empty anyway.
    done = run(tmp_path, "scheduler", "run", variables={"GINKGO_MYSQL__DATABASE": "mysql"})
    assert done.returncode != 0
    assert done.stderr.strip().endswith("the database has no tables yet: run 'ginkgo data init'")
    assert "Traceback" not in done.stderr


def test_without_redis_it_waits_with_one_line_and_stops_when_asked(servers: RunningStack, tmp_path: Path) -> None:
    assert run(tmp_path, "migrate", "-v", "0").returncode == 0
    log = tmp_path / "run.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command("scheduler", "run"),
            env={**servers.environment, "GINKGO_HOME": str(tmp_path), **NOWHERE},
            stderr=file,
            start_new_session=True,
        )
    try:
        eventually(lambda: "Redis does not answer, waiting for it" in log.read_text(), timeout=20)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=10) == 0
    finally:
        process.kill()
        process.wait()
    assert len(log.read_text().splitlines()) == 1
