"""`ginkgo history run` as a process, killed while its server is away: every row is there once afterwards (SPEC M7)."""

from __future__ import annotations

import json
import random
import signal
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from ginkgo_site.supervisor.detach import command
from market import topic_admin
from market.bus import make_producer
from market.history import status
from market.history.bars import BarMaker
from market.history.queries import Question
from market.history.reader import HistoryAway, Reader
from market.history.rows import Stand, feedback_rows, order_row, tick_row
from market.history.schema import TABLES
from market.history.spool import look
from market.messages import Feedback, OrderSubmission, PriceUpdate, decode_feedback, decode_order, decode_price, encode
from market.topics import MARKET_DATA, ORDERS_FEEDBACK, ORDERS_SUBMISSION
from portfolios.kernel.rules import rules_for
from tests.market import log
from tests.market.history.conftest import ClickHouse
from tests.market.history.samples import at
from tests.support import eventually
from tests.support.stack import RunningStack

pytestmark = pytest.mark.servers

TOPIC = MARKET_DATA["cn"]
RULES = rules_for("cn")


class Writer:
    """The process; its spool and its server are this test's own."""

    def __init__(self, stack: RunningStack, folder: Path, variables: dict[str, str]) -> None:
        self.spool = folder / "spool"
        self.log = folder / "history.log"
        self._environment = {
            **stack.environment,
            "GINKGO_HISTORY__SPOOL": str(self.spool),
            "GINKGO_HISTORY__BATCH_ROWS": "50",
            "GINKGO_HISTORY__BATCH_SECONDS": "0.5",
            **variables,
        }
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        with self.log.open("ab") as out:
            self._process = subprocess.Popen(
                command("history", "run"), env=self._environment, stdin=subprocess.DEVNULL, stdout=out, stderr=out
            )

    def kill(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.kill()
            self._process.wait(10)

    def stop(self) -> int:
        assert self._process is not None
        self._process.send_signal(signal.SIGTERM)
        return self._process.wait(20)


class Story:
    """What is told to the log: ticks of two codes of its own, and orders that are filled."""

    def __init__(self) -> None:
        self.since = {topic: log.ends(topic) for topic in (TOPIC, ORDERS_SUBMISSION, ORDERS_FEEDBACK)}
        number = random.Random(uuid4().int).randrange(100_000, 800_000)
        self.codes = (f"{number:06}.SZ", f"{number + 1:06}.SZ")
        self.portfolio = str(uuid4())
        self._producer = make_producer("test-history", linger_ms=5)
        self._count = 0

    def tell(self, ticks: int) -> None:
        for _ in range(ticks):
            n = self._count = self._count + 1
            code = self.codes[n % 2]
            moment = at(0) + timedelta(seconds=17 * n)
            self._say(TOPIC, code, PriceUpdate(code=code, timestamp=moment, price=10 + n % 30 / 100, volume=n))
            if n % 10 == 0:
                order = OrderSubmission(
                    timestamp=moment, order_id=str(uuid4()), portfolio_id=self.portfolio, epoch=1, code=code,
                    direction=1, order_type="market", volume=100, cause=f"{TOPIC}:0:{n}:0",
                )  # fmt: skip
                self._say(ORDERS_SUBMISSION, self.portfolio, order)
                self._say(ORDERS_SUBMISSION, self.portfolio, order)  # sent again, as after a failover
                fill = Feedback(
                    event_type="order_filled", timestamp=moment, order_id=order.order_id, portfolio_id=self.portfolio,
                    seq=1, pseq=n // 10, status="filled", fill_id=str(uuid4()), code=code, direction=1,
                    filled_volume=100, remaining_volume=0, filled_price=10.0, filled_amount=1000.0, commission=5.0,
                    tax=0.0,
                )  # fmt: skip
                self._say(ORDERS_FEEDBACK, self.portfolio, fill)
        assert self._producer.flush(20) == 0

    def _say(self, topic: str, key: str, message: object) -> None:
        self._producer.produce(topic, key=key, value=encode(message))

    def rows(self) -> dict[str, Counter[tuple[object, ...]]]:
        """Every row that history must have of it, by its key, made from the log itself."""
        ids = topic_admin.topic_ids()
        bars = BarMaker(lambda market: RULES, {})
        found: dict[str, list[tuple[object, ...]]] = {name: [] for name in ("ticks", "bars", "orders", "fills")}
        mine = {*self.codes, self.portfolio}
        for topic, since in self.since.items():
            for message in log.read(topic, since):
                if message.key not in mine:
                    continue
                stand = Stand(ids[topic], message.partition, message.offset, 0)
                if topic == TOPIC:
                    tick = decode_price(message.value)
                    found["ticks"].append(tick_row(tick, stand))
                    found["bars"] += bars.add(tick, stand)
                elif topic == ORDERS_SUBMISSION:
                    found["orders"].append(order_row(decode_order(message.value), stand))
                else:
                    for table, rows in feedback_rows(decode_feedback(message.value), stand).items():
                        found[table] += rows
        return {table: Counter({_key(table, row): 1 for row in rows}) for table, rows in found.items()}


def _key(table: str, row: tuple[object, ...]) -> tuple[object, ...]:
    return tuple(row[n] for n, column in enumerate(TABLES[table].columns) if column.primary_key)


def recorded(address: str, story: Story) -> dict[str, Counter[tuple[object, ...]]]:
    """What history has of it, by its key; a row that is there twice counts as two."""
    found = {}
    mine = ", ".join(f"'{each}'" for each in (*story.codes, story.portfolio))
    try:
        with Reader(address) as reader:
            connection = reader._connection()
            d = connection.dialect
            for table in ("ticks", "bars", "orders", "fills"):
                keys = [column.name for column in TABLES[table].columns if column.primary_key]
                chosen = ", ".join(d.micros(key) if key in ("timestamp", "ends") else key for key in keys)
                sql = f"SELECT {chosen} FROM {d.rows(table)} WHERE {keys[0]} IN ({mine})"
                found[table] = Counter(tuple(row) for row in connection.ask(Question(sql, {})))
    except HistoryAway as error:
        raise AssertionError(str(error)) from None
    return found


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Nobody can write this file meanwhile."""
    other = sqlite3.connect(path, isolation_level=None, timeout=20)
    other.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        other.execute("ROLLBACK")
        other.close()


@contextmanager
def killed(server: ClickHouse) -> Iterator[None]:
    server.kill()
    try:
        yield
    finally:
        server.start()


def away_and_killed(writer: Writer, story: Story, address: str, away: object, seconds: float) -> None:
    """The server goes, the writer is killed twice, more happens all the time; then the server is back."""
    pause = threading.Event()
    writer.start()
    story.tell(130)
    eventually(
        lambda: recorded(address, story)["ticks"].total() >= 100, timeout=90, interval=0.5, saying="the first rows"
    )
    with away:  # type: ignore[attr-defined]
        begun = time.monotonic()
        story.tell(150)
        eventually(lambda: look(writer.spool).rows > 100, timeout=60, interval=0.2, saying="rows in the spool")
        writer.kill()
        story.tell(70)
        writer.start()
        before = look(writer.spool).rows
        eventually(lambda: look(writer.spool).rows > before, timeout=60, interval=0.2, saying="more rows in the spool")
        story.tell(40)
        pause.wait(random.Random().uniform(0, 0.6))
        writer.kill()
        pause.wait(max(0.0, seconds - (time.monotonic() - begun)))
    writer.start()
    story.tell(60)
    expected = story.rows()
    assert expected["ticks"].total() == 450 and expected["orders"].total() == 90 and expected["fills"].total() == 45

    def every_row_once() -> bool:
        found = recorded(address, story)
        for table, rows in expected.items():
            missing, extra = rows - found[table], found[table] - rows
            assert not missing and not extra, f"{table}: {len(missing)} missing {missing}, {len(extra)} more {extra}"
        return True

    eventually(every_row_once, timeout=90, interval=0.5, saying="every row, once")
    assert look(writer.spool).refused == 0
    assert writer.stop() == 0, writer.log.read_text()[-2000:]
    # What came as it stopped waits in the spool for its next start.
    assert "Traceback" not in writer.log.read_text()


@pytest.fixture
def story(topics: RunningStack) -> Story:
    return Story()


@pytest.mark.parametrize(
    "seconds", [pytest.param(0.0, id="a moment"), pytest.param(60.0, id="a minute", marks=pytest.mark.slow)]
)
def test_away_and_killed_every_row_is_in_sqlite_exactly_once(
    topics: RunningStack, story: Story, tmp_path: Path, seconds: float
) -> None:
    writer = Writer(topics, tmp_path, {})
    path = topics.home / "history.sqlite3"
    try:
        away_and_killed(writer, story, f"sqlite:///{path}", locked(path), seconds)
    finally:
        writer.kill()


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [pytest.param(0.0, id="a moment"), pytest.param(60.0, id="a minute")])
def test_away_and_killed_every_row_is_in_clickhouse_exactly_once(
    topics: RunningStack, story: Story, tmp_path: Path, clickhouse: ClickHouse, seconds: float
) -> None:
    address = clickhouse.address()
    given = {
        "GINKGO_CLICKHOUSE__HOST": "127.0.0.1",
        "GINKGO_CLICKHOUSE__PORT": str(clickhouse.port),
        "GINKGO_CLICKHOUSE__DATABASE": address.rpartition("/")[2],
    }
    writer = Writer(topics, tmp_path, given)
    try:
        away_and_killed(writer, story, address, killed(clickhouse), seconds)
    finally:
        writer.kill()


def test_the_status_says_who_writes_what_there_is_and_how_far_behind_it_is(
    topics: RunningStack, story: Story, tmp_path: Path
) -> None:
    writer = Writer(topics, tmp_path, {"GINKGO_HISTORY__SPOOL": str(topics.home / "history")})
    try:
        writer.start()
        story.tell(20)

        def caught_up() -> bool:
            found = status.read()
            assert (found["state"], found["server"]) == ("running", "up"), found
            assert (found["lag"], found["spool"]["rows"]) == (0, 0), found
            return True

        eventually(caught_up, timeout=90, interval=0.5)
        assert status.read()["rows"]["ticks"] >= 20
        second = topics.run("history", "run")
        assert second.returncode == 1 and "already" in second.stderr and len(second.stderr.splitlines()) == 1
        assert writer.stop() == 0
        story.tell(5)
        stopped = json.loads(topics.run("history", "status", "--json").stdout)
        assert stopped["state"] == "stopped" and stopped["lag"] >= 5
    finally:
        writer.kill()
