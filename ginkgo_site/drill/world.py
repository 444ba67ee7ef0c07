"""The cluster a drill is run on: real processes with short intervals, each of which can be killed, frozen and woken."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import redis

from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.proxy import Proxy
from ginkgo_site.stack import logs, record
from ginkgo_site.supervisor.detach import command, environment
from portfolios import livestate

FAST = {
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "1",
    "GINKGO_NODE__HEARTBEAT_TTL": "3",
    "GINKGO_NODE__RECONCILE_INTERVAL": "0.5",
    "GINKGO_NODE__CHECKPOINT_INTERVAL": "1",
    "GINKGO_NODE__RESEND_INTERVAL": "2",
    "GINKGO_NODE__MAX_PORTFOLIOS": "10",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "2",
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "0.5",
    "GINKGO_SCHEDULER__LEASE": "4",
    "GINKGO_SCHEDULER__MOVE_TIMEOUT": "5",
    "GINKGO_ENGINE__MAX_ORDERS_PER_MINUTE": "100000",
}
"""The fast profile: a dead node is noticed within 3 seconds instead of 30."""
_START_S = 60.0


class World:
    """`names` of its processes: scheduler, engine, and a node for each id."""

    def __init__(self, home: Path, nodes: Sequence[str]) -> None:
        self.home = home
        self.nodes = tuple(nodes)
        self.names = ("scheduler", "engine", *nodes)
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._log_at: dict[str, int] = {}
        self.proxies: dict[str, Proxy] = {}

    def open(self) -> None:
        """Start everything and wait until it runs. Raises DrillError."""
        host, port = _redis_address()
        self.proxies = {node: Proxy(host, port) for node in self.nodes}
        for name in self.names:
            self.start(name)
        self.await_nodes()
        self.until(lambda: bool(livestate.client().hget("engine:live:status", "engine_status")), "the engine runs")

    def close(self) -> None:
        """End all of it, the frozen ones too."""
        for name in list(self._frozen):
            self.thaw(name)
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + 30
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)
        for proxy in self.proxies.values():
            proxy.close()

    # -- processes -------------------------------------------------------------------------------------------------

    def start(self, name: str) -> None:
        """Start it if it does not run; it is not waited for."""
        if self.alive(name):
            return
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_at[name] = log.stat().st_size if log.exists() else 0
        with log.open("ab") as output:
            self._processes[name] = subprocess.Popen(
                command(*self._words(name)),
                env={**environment(), **FAST, **self._own(name), "GINKGO_HOME": str(self.home)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def alive(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def signal(self, name: str, number: int) -> None:
        """To the process alone: its children, if any, live as they would after a real crash of it."""
        self._processes[name].send_signal(number)

    def kill(self, name: str) -> None:
        """kill -9 of its whole group, as the death of a machine is."""
        self._frozen.discard(name)
        os.killpg(self._processes[name].pid, signal.SIGKILL)
        self._processes[name].wait(10)

    def stop(self, name: str, timeout: float = 40.0) -> int:
        """SIGTERM, as a supervisor does; its exit code."""
        self._processes[name].terminate()
        try:
            return self._processes[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise DrillError(f"{name} did not stop within {timeout:g} s: {self.said(name)}") from None

    def freeze(self, name: str) -> None:
        os.killpg(self._processes[name].pid, signal.SIGSTOP)
        self._frozen.add(name)

    def thaw(self, name: str) -> None:
        self._frozen.discard(name)
        if self.alive(name):
            os.killpg(self._processes[name].pid, signal.SIGCONT)

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"drill-{name}.log"

    def said(self, name: str) -> str:
        return logs.telling_line(self.log(name), self._log_at.get(name, 0))

    # -- servers ---------------------------------------------------------------------------------------------------

    def server(self, name: str) -> int | None:
        """The process number of an embedded server (kafka, valkey), None if it was given."""
        pid: int | None = record.read(self.home).get("processes", {}).get(name)
        return pid

    def kill_server(self, name: str) -> None:
        """kill -9; the embedded stack's supervisor starts it again. Raises DrillError if it is not ours to kill."""
        pid = self.server(name)
        if pid is None:
            raise DrillError(f"{name} is given: it is not ours to kill")
        os.kill(pid, signal.SIGKILL)

    # -- waiting ---------------------------------------------------------------------------------------------------

    def await_nodes(self) -> None:
        """All nodes say that they run. Raises DrillError if one ends, or takes too long."""

        def running() -> bool:
            for node in self.nodes:
                if not self.alive(node):
                    raise DrillError(f"{node} ended: {self.said(node)}")
                info = livestate.client().hgetall(livestate.node_info_key(node))
                if (info.get("state"), info.get("pid")) != ("running", str(self._processes[node].pid)):  # type: ignore[union-attr]
                    return False
            return True

        self.until(running, "all nodes run")

    def restore(self) -> None:
        """Everything runs again, whatever a drill has done to it."""
        for name in list(self._frozen):
            self.thaw(name)
        for proxy in self.proxies.values():
            proxy.mend()
        for name in self.names:
            self.start(name)
        self.await_nodes()

    @staticmethod
    def until(condition: Callable[[], bool], saying: str, timeout: float = _START_S) -> float:
        """Wait for it; the seconds it took. Redis and the database may be away meanwhile. Raises DrillError."""
        from django.db import DatabaseError, connection

        pause, begun = threading.Event(), time.monotonic()
        trouble = ""
        while time.monotonic() - begun < timeout:
            try:
                if condition():
                    return time.monotonic() - begun
                trouble = ""
            except (redis.RedisError, livestate.RedisUnavailable, DatabaseError) as error:
                trouble = f" ({error})"
                connection.close()
            pause.wait(0.05)
        raise DrillError(f"waited {timeout:g} s in vain: {saying}{trouble}")

    def _words(self, name: str) -> tuple[str, ...]:
        if name in ("scheduler", "engine"):
            return (name, "run")
        return ("node", "start", "--node-id", name)

    def _own(self, name: str) -> dict[str, str]:
        """A node reaches Redis through a proxy of its own."""
        proxy = self.proxies.get(name)
        return {} if proxy is None else {"GINKGO_REDIS__HOST": "127.0.0.1", "GINKGO_REDIS__PORT": str(proxy.port)}


def _redis_address() -> tuple[str, int]:
    options = livestate.client().connection_pool.connection_kwargs
    return str(options["host"]), int(options["port"])
