"""The whole platform as a user runs it: `ginkgo up` in a home of its own, and what its database and log say."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

import psutil

from ginkgo_site.supervisor.detach import command, environment
from tests.support import stack
from tests.support.eventually import eventually

FAST = {
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "1",
    "GINKGO_NODE__HEARTBEAT_TTL": "3",
    "GINKGO_NODE__RECONCILE_INTERVAL": "1",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "5",
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "1",
}


@dataclass
class Platform:
    """A running `ginkgo up`; `process` is its supervisor."""

    home: Path
    process: subprocess.Popen[bytes]

    def status(self) -> dict[str, Any]:
        done = stack.run(self.home, "status", "--json")
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    def rows(self, sql: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """What the database itself says, asked beside Django and read-only."""
        connection = sqlite3.connect(f"file:{self.home / 'ginkgo.sqlite3'}?mode=ro", uri=True, timeout=10)
        try:
            return connection.execute(sql, parameters).fetchall()
        finally:
            connection.close()

    def one(self, sql: str, *parameters: Any) -> Any:
        return self.rows(sql, *parameters)[0][0]

    def pid(self, name: str) -> int:
        """The process number of one of its programs, as stack.json tells it; 0 while it does not run."""
        return int(stack.read(self.home)["processes"].get(name, 0))

    def family(self) -> list[psutil.Process]:
        """Every process of this home, the supervisor's own among them."""
        return [p for p in psutil.process_iter() if _belongs(p, self.home)]

    def interrupt(self, timeout: float = 60.0) -> int:
        """Ctrl-C; its exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(timeout)

    def log(self, name: str) -> str:
        return (self.home / "logs" / f"{name}.log").read_text()


@contextmanager
def platform(home: Path, *options: str) -> Iterator[Platform]:
    """`ginkgo up OPTIONS…` in `home`, from its start on; killed at the end if it still runs."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.log").open("ab") as log:
        process = subprocess.Popen(
            command("up", *options),
            env={**environment(), **FAST, "GINKGO_HOME": str(home)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    running = Platform(home, process)
    try:
        yield running
    finally:
        if process.poll() is None:
            try:
                running.interrupt()
            finally:
                for left in running.family():
                    with suppress(psutil.NoSuchProcess):
                        left.kill()


def imbalance(running: Platform) -> list[tuple[str, Decimal]]:
    """(portfolio, difference) for each whose own cash is not what its fills leave of its initial cash.

    Compared as of one moment: the checkpoint's pseq says up to which feedback the portfolio has booked.
    """
    wrong: list[tuple[str, Decimal]] = []
    query = (
        "SELECT p.id, p.initial_cash, c.state, c.pseq FROM portfolios_portfolio p "
        "JOIN portfolios_checkpoint c ON c.portfolio_id = p.id"
    )
    for portfolio_id, initial, state, pseq in running.rows(query):
        if not state:
            continue
        cash = Decimal(json.loads(state)["ledger"]["cash"]) / 10_000
        booked = _booked_fills(running, portfolio_id, pseq)
        spent = sum(
            (
                (Decimal(direction) * Decimal(str(amount)) + Decimal(str(commission)) + Decimal(str(tax)))
                for direction, amount, commission, tax in booked
            ),
            Decimal(0),
        )
        difference = Decimal(str(initial)) - spent - cash
        if difference != 0:
            wrong.append((portfolio_id, difference))
    return wrong


def _booked_fills(running: Platform, portfolio_id: str, pseq: int) -> list[tuple[Any, ...]]:
    messages = running.rows(
        "SELECT message FROM market_outboxmessage WHERE portfolio_id = ? AND pseq <= ?", portfolio_id, pseq
    )
    fills = [f for f in (json.loads(m[0]).get("fill_id") for m in messages) if f]
    marks = ",".join("?" * len(fills))
    query = f"SELECT direction, amount, commission, tax FROM market_fill WHERE fill_id IN ({marks})"
    return running.rows(query, *fills) if fills else []


def gone(processes: list[psutil.Process], timeout: float) -> bool:
    """All of them have ended within `timeout` seconds."""
    return bool(eventually(lambda: not [p for p in processes if _alive(p)], timeout, saying="every process gone"))


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def _alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _belongs(process: psutil.Process, home: Path) -> bool:
    try:
        return process.environ().get("GINKGO_HOME") == str(home)
    except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
        return False
