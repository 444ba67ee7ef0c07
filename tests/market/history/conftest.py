"""History's two servers: a SQLite file, and ClickHouse's engine behind its own protocol."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import pytest

from ginkgo_site.stack.ports import Ports
from market.history.schema import DAYS
from market.history.store import Store

ROOT = Path(__file__).parents[3]


@dataclass
class ClickHouse:
    """The server of tests.market.history.clickhouse; `address` is a database of its own each time."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "tests.market.history.clickhouse", str(self.folder), str(self.port)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == b"ready\n"

    def kill(self) -> None:
        assert self.process is not None
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()

    def address(self) -> str:
        return f"clickhouse+native://default@127.0.0.1:{self.port}/h{uuid4().hex[:12]}"


@pytest.fixture(scope="session")
def clickhouse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClickHouse]:
    pytest.importorskip("chdb", reason="ClickHouse's engine has no wheel for this machine")
    ports = Ports()
    server = ClickHouse(tmp_path_factory.mktemp("clickhouse"), ports.any())
    ports.release()
    server.start()
    yield server
    server.kill()


@pytest.fixture(params=["sqlite", "clickhouse"])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A history without anything in it, on each of the servers."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'history.sqlite3'}"
    server: ClickHouse = request.getfixturevalue("clickhouse")
    return server.address()


@pytest.fixture
def store(address: str) -> Iterator[Store]:
    made = Store(address, DAYS)
    yield made
    made.close()
