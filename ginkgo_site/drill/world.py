"""The cluster a drill is run on: real processes, each of which can be killed, frozen, woken and cut off."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil
import redis

from ginkgo_site.bench.programs import module
from ginkgo_site.drill import servers
from ginkgo_site.drill.errors import DrillError
from ginkgo_site.drill.profiles import FAST
from ginkgo_site.drill.proxy import KafkaProxy, Proxy
from ginkgo_site.drill.stepped import FILE
from ginkgo_site.drill.tally import FLAG
from ginkgo_site.stack import logs
from ginkgo_site.supervisor.detach import command, environment
from portfolios import livestate

_START_S = 120.0
"""On a busy machine a process takes half a minute to start."""


class World:
    """`names` of its processes: scheduler, engine, and a node for each id. One more engine is `engine-` and anything.

    Each reaches Kafka, Redis, and MySQL if one is given, through proxies of its own; we ourselves do not.
    """

    def __init__(self, home: Path, nodes: Sequence[str]) -> None:
        self.home = home
        self.nodes = tuple(nodes)
        self.names = ("scheduler", "engine", *nodes)
        self.slow = home / "drill-slow"
        """While this file exists, the slow strategy waits."""
        self.step = home / "drill-step"
        """While this file exists, a process that was started to is killed or frozen at its step."""
        self._profile = FAST
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._through: dict[str, tuple[str, ...]] = {}
        self._log_at: dict[str, int] = {}
        self._proxies: dict[tuple[str, str], Proxy] = {}

    def open(self) -> None:
        """Start everything and wait until it runs. Raises DrillError."""
        for name in self.names:
            self.start(name)
        self.await_nodes()
        self.until(lambda: bool(livestate.client().hget("engine:live:status", "engine_status")), "the engine runs")

    def use(self, profile: Mapping[str, str]) -> None:
        """Everything runs by these intervals; started anew if it did not."""
        if profile is not self._profile:
            self._profile = profile
            self._end_all()
        self.restore()

    def close(self) -> None:
        """End all of it, the frozen ones too."""
        self._end_all()
        for proxy in self._proxies.values():
            proxy.close()

    def restore(self) -> None:
        """Everything runs again as it did, and nothing else does, whatever a drill has done to it."""
        for name in list(self._frozen):
            self.thaw(name)
        self.mend()
        self.slow.unlink(missing_ok=True)
        self.step.unlink(missing_ok=True)
        for name in set(self._processes) - set(self.names):
            self.stop(name)
            del self._processes[name]
        for name in self.names:
            if self._through.pop(name, ()) and self.alive(name):
                self.stop(name)
            self.start(name)
        self.await_nodes()

    # -- processes -------------------------------------------------------------------------------------------------

    def start(self, name: str, through: tuple[str, ...] = ()) -> None:
        """Start it if it does not run; it is not waited for. `through`: the module of the drills, with its own first
        words, by which it is started now and again, until the world is restored.
        """
        if self.alive(name):
            return
        through = self._through[name] = through or self._through.get(name, ())
        log = self.log(name)
        log.parent.mkdir(parents=True, exist_ok=True)
        self._log_at[name] = log.stat().st_size if log.exists() else 0
        own = {
            **self._profile,
            **self._wires(name),
            "GINKGO_HOME": str(self.home),
            FLAG: str(self.slow),
            FILE: str(self.step),
        }
        words = (kind, "run") if (kind := _kind(name)) != "node" else ("node", "start", "--node-id", name)
        with log.open("ab") as output:
            self._processes[name] = subprocess.Popen(
                module(*through, *words) if through else command(*words),
                env={**environment(), **own},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def alive(self, name: str) -> bool:
        process = self._processes.get(name)
        return process is not None and process.poll() is None

    def kill(self, name: str) -> None:
        """kill -9 of its whole group, as the death of a machine is."""
        self._frozen.discard(name)
        os.killpg(self._processes[name].pid, signal.SIGKILL)
        self._processes[name].wait(10)

    def stop(self, name: str, timeout: float = 60.0) -> int:
        """SIGTERM, as a supervisor does; its exit code."""
        self._processes[name].terminate()
        try:
            return self._processes[name].wait(timeout)
        except subprocess.TimeoutExpired:
            raise DrillError(f"{name} did not stop within {timeout:g} s: {self.said(name)}") from None

    def freeze(self, name: str) -> None:
        os.killpg(self._processes[name].pid, signal.SIGSTOP)
        self._frozen.add(name)

    def is_frozen(self, name: str) -> bool:
        """Whether it stands still, by whoever's doing; it is thawed with the others. Raises DrillError if it ended."""
        if not self.alive(name):
            raise DrillError(f"{name} ended: {self.said(name)}")
        if psutil.Process(self._processes[name].pid).status() != psutil.STATUS_STOPPED:
            return False
        self._frozen.add(name)
        return True

    def exit_code(self, name: str) -> int | None:
        """Of its last life; negative: of which signal it died. None while it runs."""
        return self._processes[name].poll()

    def thaw(self, name: str) -> None:
        self._frozen.discard(name)
        if self.alive(name):
            os.killpg(self._processes[name].pid, signal.SIGCONT)

    def family(self, name: str) -> list[psutil.Process]:
        """It and its children."""
        process = psutil.Process(self._processes[name].pid)
        return [process, *process.children(recursive=True)]

    def log(self, name: str) -> Path:
        return self.home / "logs" / f"drill-{name}.log"

    def said(self, name: str) -> str:
        return logs.telling_line(self.log(name), self._log_at.get(name, 0))

    # -- wires -----------------------------------------------------------------------------------------------------

    def cut(self, server: str, *names: str) -> None:
        """Nothing passes any more between it and these processes (none named: all)."""
        for (name, each), proxy in self._proxies.items():
            if each == server and (not names or name in names):
                proxy.cut()

    def mend(self, server: str = "", *names: str) -> None:
        """Undo `cut`; without a server, all that is cut."""
        for (name, each), proxy in self._proxies.items():
            if proxy.is_cut and (not server or each == server) and (not names or name in names):
                proxy.mend()

    def _wires(self, name: str) -> dict[str, str]:
        """The addresses of the proxies between it and its servers."""
        found: dict[str, str] = {}
        for server, address in servers.addresses().items():
            proxy = self._proxies.get((name, server))
            if proxy is None:
                proxy = KafkaProxy(*address) if server == "kafka" else Proxy(*address)
                self._proxies[name, server] = proxy
            if server == "kafka":
                found["GINKGO_KAFKA__BOOTSTRAP_SERVERS"] = f"127.0.0.1:{proxy.port}"
                continue
            found[f"GINKGO_{server.upper()}__HOST"] = "127.0.0.1"
            found[f"GINKGO_{server.upper()}__PORT"] = str(proxy.port)
        return found

    # -- waiting ---------------------------------------------------------------------------------------------------

    def await_nodes(self) -> None:
        """All nodes say that they run. Raises DrillError if one ends, or takes too long."""
        for node in self.nodes:
            self.until(lambda node=node: self.runs(node), f"{node} runs")  # type: ignore[misc]

    def runs(self, node: str) -> bool:
        """Whether this very process says so. Raises DrillError if it has ended."""
        if not self.alive(node):
            raise DrillError(f"{node} ended: {self.said(node)}")
        info: dict[Any, Any] = livestate.client().hgetall(livestate.node_info_key(node))  # type: ignore[assignment]
        return (info.get("state"), info.get("pid")) == ("running", str(self._processes[node].pid))

    @staticmethod
    def until(condition: Callable[[], bool], saying: str, timeout: float = _START_S) -> float:
        """Wait for it; the seconds it took. Redis and the database may be away meanwhile. Raises DrillError."""
        from django.db import Error, connection

        pause, begun = threading.Event(), time.monotonic()
        trouble = ""
        while time.monotonic() - begun < timeout:
            try:
                if condition():
                    return time.monotonic() - begun
                trouble = ""
            except (redis.RedisError, livestate.RedisUnavailable, Error) as error:
                trouble = f" ({error})"
                connection.close()
            pause.wait(0.05)
        raise DrillError(f"waited {timeout:g} s in vain: {saying}{trouble}")

    def _end_all(self) -> None:
        """SIGTERM to all, SIGKILL to whoever takes too long."""
        for name in list(self._frozen):
            self.thaw(name)
        for process in self._processes.values():
            if process.poll() is None:
                process.terminate()
        deadline = time.monotonic() + 40
        for process in self._processes.values():
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _kind(name: str) -> str:
    """What a process of this name is: scheduler, engine or node."""
    return name if name == "scheduler" else "engine" if name.partition("-")[0] == "engine" else "node"
