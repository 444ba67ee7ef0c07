"""`ginkgo engine run` as a process, killed while orders flow: nothing is lost, nothing happens twice (SPEC M2, M3)."""

from __future__ import annotations

import json
import os
import random
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

import msgspec
import pytest

from market.messages import ControlCommand, decode_feedback, encode
from market.topics import CONTROL_COMMANDS, ORDERS_SUBMISSION
from portfolios import livestate
from tests.market.desk_support import cancel_of
from tests.market.engine_support import Engine, Trader, books, engine, make_portfolios
from tests.market.log_support import FeedbackReader
from tests.support import eventually
from tests.support.stack import RunningStack, run

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def ready(topics: RunningStack) -> RunningStack:
    done = topics.run("data", "init")
    assert done.returncode == 0, done.stderr
    return topics


@pytest.fixture
def reader(topics):
    reader = FeedbackReader()
    yield reader
    reader.close()


def told(reader, order) -> list[str]:
    """What was said about an order, repetitions left out."""
    seen = {f.pseq: f for _, f in reader.read() if f.order_id == order.order_id}
    return [seen[pseq].event_type.removeprefix("order_") for pseq in sorted(seen)]


def reason(reader, order):
    return next(f.reason for _, f in reader.read() if f.order_id == order.order_id and f.reason is not msgspec.UNSET)


def judge(found, trader, reader) -> None:
    """No order or fill lost or repeated: by the engine's books, the broker's book, and what is on the topic."""
    sent = {order.order_id for order in trader.sent}
    assert set(found["orders"]) == sent
    assert set(found["orders"].values()) == {"filled"}
    assert found["broker_orders"] == dict.fromkeys(sent, 1)
    assert sorted(found["fills"]) == sorted(found["broker_fills"])
    assert len(found["fills"]) == len(sent)
    by_portfolio = defaultdict(dict)
    for portfolio_id, pseq, _, message in found["outbox"]:
        by_portfolio[portfolio_id][pseq] = decode_feedback(message.encode())
    assert sum(map(len, by_portfolio.values())) == 2 * len(sent)
    for answers in by_portfolio.values():
        assert sorted(answers) == list(range(1, len(answers) + 1))
    on_topic = {(f.portfolio_id, f.pseq) for _, f in reader.read()}
    assert {(p, n) for p, answers in by_portfolio.items() for n in answers} <= on_topic
    for _, f in reader.seen:
        if f.portfolio_id in by_portfolio:
            assert f == by_portfolio[f.portfolio_id][f.pseq]


def test_killed_at_random_moments_it_loses_and_repeats_nothing(ready, reader):
    trader = Trader(make_portfolios(ready, 4))
    moments = random.Random(11)
    pace = threading.Event()
    running = Engine(ready)
    try:
        running.wait_until_ready()
        for _ in range(2):
            deadline = time.monotonic() + moments.uniform(0.3, 1.5)
            while time.monotonic() < deadline:
                pace.wait(0.01)  # what a slow machine's engine works off in time, too
                trader.order(len(trader.sent) % 4)
                if len(trader.sent) % 3 == 0:
                    trader.tick()
            running.kill()
            trader.order()
            running = Engine(ready)
        trader.tick()
        running.wait_until_ready()
        eventually(
            lambda: len({f.order_id for _, f in reader.read() if f.event_type == "order_filled"}) == len(trader.sent),
            timeout=60,
            saying="every order is filled",
        )
        assert running.terminate() == 0, running.log[-2000:]
    finally:
        if running.process.poll() is None:
            running.kill()
    judge(books(ready, trader.portfolio_ids), trader, reader)


def test_two_engines_share_the_orders_and_one_takes_over_from_the_other(ready, reader):
    trader = Trader(make_portfolios(ready, 12))
    with engine(ready) as first, engine(ready) as second:
        eventually(lambda: second.log.count("has partitions [") and first.log.count("has partitions [") > 1, timeout=30)
        for n in range(24):
            trader.order(n % 12)
        trader.tick()
        eventually(lambda: all(told(reader, each) == ["ack", "filled"] for each in trader.sent), timeout=40)
        first.kill()
        for n in range(12):
            trader.order(n)
        trader.tick()
        eventually(lambda: all(told(reader, each) == ["ack", "filled"] for each in trader.sent), timeout=40)
        assert second.terminate() == 0
    judge(books(ready, trader.portfolio_ids), trader, reader)


@pytest.fixture(scope="module")
def running(ready) -> Iterator[list[Engine]]:
    """One engine for the tests that follow; who ends it, starts the next."""
    current = [Engine(ready)]
    current[0].wait_until_ready()
    yield current
    if current[0].process.poll() is None:
        current[0].kill()


def test_a_stale_owner_gets_no_answer_poison_stops_nothing_and_a_resend_is_answered_again(ready, running, reader):
    trader = Trader(make_portfolios(ready, 1))
    stale = trader.order(epoch=6)
    trader.feed.write(ORDERS_SUBMISSION, trader.portfolio_ids[0], b"\xff not a message")
    order = trader.order(order_type="limit", price=9.2)
    eventually(lambda: told(reader, order) == ["ack"], timeout=20)
    before = len(reader.seen)
    trader.send(order)
    eventually(lambda: len(reader.read()) == before + 1, timeout=20)
    assert reader.seen[-1] == reader.seen[-2]
    wish = cancel_of(order)
    trader.feed.write(ORDERS_SUBMISSION, order.portfolio_id, encode(wish))
    eventually(lambda: told(reader, order) == ["ack", "cancelled"], timeout=20)
    assert told(reader, stale) == []
    eventually(lambda: int(said("fenced")) >= 1, timeout=5)


def test_the_status_says_whether_an_engine_runs(ready, running):
    eventually(lambda: said("pid") == str(running[0].process.pid), timeout=10)
    found = status(ready)
    assert found["engine_status"] == "running"
    assert (found["pid"], found["broker"], found["switch"]) == (running[0].process.pid, "simulation", "on")
    table = ready.run("engine", "status").stdout
    assert "running" in table and max(map(len, table.splitlines())) <= 80


def test_an_engine_of_another_broker_does_not_start_beside_it(ready, running):
    eventually(lambda: said("engine_status") in ("running", "stopped"), timeout=10)
    variables = {"GINKGO_ENGINE__BROKER": "other", "GINKGO_BROKERS__OTHER__TYPE": "simulation"}
    done = run(ready.home, "engine", "run", variables=variables)
    assert done.returncode == 1
    assert "an engine of broker 'simulation' runs already" in done.stderr.strip().splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert running[0].process.poll() is None


def test_the_button_ends_working_orders_within_a_second_and_outlasts_a_restart(ready, running, reader):
    trader = Trader(make_portfolios(ready, 1))
    working = trader.order(order_type="limit", price=9.2)
    eventually(lambda: told(reader, working) == ["ack"], timeout=20)
    done = ready.run("engine", "stop", "--json")
    stopped = time.monotonic()
    assert json.loads(done.stdout)["switch"] == "off"
    eventually(lambda: told(reader, working) == ["ack", "cancelled"], timeout=10)
    assert time.monotonic() - stopped < 1.0
    assert reason(reader, working) == "engine_stopped"
    eventually(lambda: said("engine_status") == "stopped", timeout=10)
    assert running[0].terminate() == 0
    assert said("engine_status") == "down"
    running[0] = Engine(ready)
    refused = trader.order()
    eventually(lambda: told(reader, refused) == ["rejected"], timeout=40)
    assert reason(reader, refused) == "engine_stopped"
    start = ControlCommand(
        timestamp=datetime.now(UTC), command_id=str(uuid.uuid4()), command_type="engine.start", target_id="engine"
    )
    trader.feed.write(CONTROL_COMMANDS, "engine", encode(start))
    eventually(lambda: said("engine_status") == "running", timeout=30)
    wanted = trader.order()
    trader.tick()
    eventually(lambda: told(reader, wanted) == ["ack", "filled"], timeout=20)


def test_without_kafka_the_button_ends_what_works(ready, running, reader):
    trader = Trader(make_portfolios(ready, 1))
    working = trader.order(order_type="limit", price=9.2)
    eventually(lambda: told(reader, working) == ["ack"], timeout=20)
    assert running[0].terminate() == 0
    alone = Engine(ready, GINKGO_KAFKA__BOOTSTRAP_SERVERS='["127.0.0.1:9"]')
    try:
        eventually(lambda: "The engine runs as" in alone.log, timeout=40)
        assert ready.run("engine", "stop", "--yes").returncode == 0
        eventually(lambda: "0 orders still working" in alone.log, timeout=10)
        assert books(ready, trader.portfolio_ids)["orders"] == {working.order_id: "cancelled"}
    finally:
        alone.kill()
        assert ready.run("engine", "start", "--yes").returncode == 0
        running[0] = Engine(ready)
    running[0].wait_until_ready()
    eventually(lambda: told(reader, working) == ["ack", "cancelled"], timeout=20)


def said(field: str) -> str | None:
    return livestate.client().hget(livestate.ENGINE_STATUS, field)


def status(stack) -> dict:
    done = stack.run("engine", "status", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.mark.skipif("GINKGO_MYSQL__HOST" in os.environ, reason="a given database has its tables, a new home has none")
def test_what_keeps_it_from_running_is_one_line(tmp_path):
    done = run(tmp_path, "engine", "run")
    assert done.returncode == 1
    assert "data init" in done.stderr and len(done.stderr.strip().splitlines()) == 1
