"""The page about brokers, followed word by word: typed in, it passes the suite and trades under a real engine."""

from __future__ import annotations

import json
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command

from ginkgo_site.supervisor.detach import environment
from market.brokers.conformance import Conformance
from portfolios.models import Portfolio
from tests.docs.snippets import blocks, commands, type_in
from tests.market.engine_support import Engine, Trader, books, make_portfolios
from tests.support import eventually
from tests.support.stack import RunningStack, run

DOCUMENT = "writing-a-broker.md"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """`my-broker`, with everything that the page has its reader type in."""
    folder = tmp_path / "my-broker"
    folder.mkdir()
    assert type_in(DOCUMENT, folder) == ["toy_exchange.py", "my_broker.py", "test_my_broker.py"]
    return folder


@dataclass
class Reader:
    """Does what the page says, on the test's servers; what the page puts into /tmp/toy is in `book`."""

    stack: RunningStack | None
    folder: Path
    book: Path
    config: Path
    engines: list[Engine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.config.mkdir()
        (self.config / "brokers.yml").write_text(self._here(blocks(DOCUMENT, "yaml")[0]))
        self.book.mkdir()  # as the page says: mkdir -p /tmp/toy

    @property
    def variables(self) -> dict[str, str]:
        exported = [each.split()[1].partition("=") for each in commands(DOCUMENT) if each.startswith("export GINKGO")]
        given = {name: value for name, _, value in exported}
        return {**given, "PYTHONPATH": str(self.folder), "GINKGO_CONFIG_DIR": str(self.config)}

    def command(self, beginning: str) -> list[str]:
        """The page's command that begins so, as words."""
        (found,) = (each for each in commands(DOCUMENT) if each.startswith(beginning))
        return shlex.split(self._here(found))

    def python(self, *words: str) -> subprocess.CompletedProcess[str]:
        """In the reader's directory and shell: nothing of this test run's settings."""
        ours = ("DJANGO_", "GINKGO_", "PYTEST", "PYTHONPATH")
        shell = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env={**shell, "PYTHONPATH": str(self.folder)},
            capture_output=True, text=True, timeout=120, check=False,
        )  # fmt: skip

    def placed(self) -> list[str]:
        """What the toy exchange has received."""
        with closing(sqlite3.connect(self.book / "book.sqlite", timeout=10)) as book:
            try:
                return [ref for (ref,) in book.execute("SELECT ref FROM orders")]
            except sqlite3.OperationalError:
                return []

    def engine(self) -> Engine:
        assert self.stack is not None
        self.engines.append(Engine(self.stack, **self.variables))
        self.engines[-1].wait_until_ready()
        return self.engines[-1]

    def close(self) -> None:
        for engine in self.engines:
            if engine.process.poll() is None:
                engine.kill()

    def _here(self, text: str) -> str:
        return text.replace("/tmp/toy", str(self.book))


def test_the_broker_passes_the_suite_in_the_readers_own_directory(folder: Path, tmp_path: Path) -> None:
    reader = Reader(None, folder, tmp_path / "toy", tmp_path / "config")
    done = reader.python("-m", *reader.command("pytest"), "-p", "no:cacheprovider")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
    assert f"{len([name for name in dir(Conformance) if name.startswith('test_')])} passed" in done.stdout


@pytest.fixture
def reader(stack: RunningStack, folder: Path, tmp_path: Path) -> Iterator[Reader]:
    assert stack.run("data", "init").returncode == 0
    reader = Reader(stack, folder, tmp_path / "toy", tmp_path / "config")
    yield reader
    reader.close()


@pytest.mark.servers
def test_it_trades_under_an_engine_and_loses_nothing_when_that_is_killed(reader: Reader) -> None:
    (portfolio,) = make_portfolios(reader.stack, 1, broker="toy")
    trader = Trader([portfolio])
    trader.feed.now = datetime.now(UTC)
    engine = reader.engine()
    order = trader.order()
    eventually(lambda: reader.placed() == [order.order_id], timeout=30, saying="the order at the toy exchange")
    engine.kill()
    assert reader.python(*reader.command("python toy_exchange.py")[1:]).returncode == 0
    engine = reader.engine()

    def filled() -> dict[str, Any]:
        found = books(reader.stack, [portfolio])
        assert found["orders"] == {order.order_id: "filled"}
        return found

    found = eventually(filled, timeout=30, interval=1)
    assert engine.terminate() == 0
    assert found["fills"] == ["toy-1"]
    told = [json.loads(message) for _, _, _, message in found["outbox"]]
    assert [each["event_type"] for each in told] == ["order_ack", "order_filled"]
    assert (told[1]["filled_price"], told[1]["commission"]) == (10.2, 0.31)


@pytest.mark.django_db
def test_the_portfolio_of_the_page_trades_in_its_account(capsys: pytest.CaptureFixture[str]) -> None:
    User.objects.create_superuser("admin", password="secret")
    for beginning in ("ginkgo account create", "ginkgo portfolio create", "ginkgo portfolio show"):
        (command,) = (each for each in commands(DOCUMENT) if each.startswith(beginning))
        call_command(*shlex.split(command)[1:])
    assert "Toy trend" in capsys.readouterr().out
    made = Portfolio.objects.get(name="Toy trend")
    assert (made.account.broker, made.account.kind, made.desired_state) == ("toy", "paper", "running")


@pytest.mark.servers
def test_a_broker_that_cannot_be_had_is_one_clear_line(reader: Reader, stack: RunningStack) -> None:
    variables = {**reader.variables, "GINKGO_ENGINE__BROKER": "my_broker:MyBroker"}
    done = run(stack.home, "engine", "run", variables=variables)
    assert done.returncode != 0
    assert "engine.broker: cannot make 'my_broker:MyBroker': KeyError: 'path'" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_what_ginkgo_up_starts_gets_the_readers_path(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("PYTHONPATH", str(folder))
    assert str(folder) in environment()["PYTHONPATH"].split(os.pathsep)
