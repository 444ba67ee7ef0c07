"""The stack of one home: its lock, its servers, their addresses in stack.json, and the supervisor of it all."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import probes, record
from ginkgo_site.stack.errors import Interrupted, StackError
from ginkgo_site.stack.jars import Progress
from ginkgo_site.stack.kafka import Kafka
from ginkgo_site.stack.lock import HomeLock
from ginkgo_site.stack.mongo import Mongo
from ginkgo_site.stack.ports import Ports
from ginkgo_site.stack.server import Server
from ginkgo_site.stack.valkey import Valkey
from ginkgo_site.supervisor.guard import Guard
from ginkgo_site.supervisor.program import Program
from ginkgo_site.supervisor.signals import Signals
from ginkgo_site.supervisor.supervisor import Supervisor

_POLL = 0.05
_TRIES = 3
_PROBES: dict[str, Callable[[str], str | None]] = {
    "kafka": probes.kafka,
    "redis": probes.redis,
    "database": probes.mysql,
    "mongodb": probes.mongodb,
}


class Stack:
    """One at a time per home. `close()` must be called, whatever happened; it stops everything in order."""

    def __init__(self, config: Config, signals: Signals, say: Callable[[str], None], progress: Progress) -> None:
        """Take the home. Raises AlreadyRunning if another has it, StackError if a configured port is taken."""
        self.config = config
        self._signals = signals
        self._say = say
        self._progress = progress
        self._lock = HomeLock(config.home)
        self._ports = Ports()
        self._state = "starting"
        self._servers: list[Server] = []
        self._started = psutil.Process().create_time()
        self._published: dict[str, Any] = {}
        self._web = self._flower = ""
        record.write(config.home, self.document())
        self._guard = Guard(keep=(self._lock.descriptor,), remove=(record.path(config.home),))
        self.supervisor = Supervisor(self._guard, say, self.publish)
        try:
            self._web = (
                f"http://{_shown(config.web.host)}:{self._listen(config.web.port, 8000, config.web.host, 'web.port')}"
            )
            self._flower = (
                f"http://127.0.0.1:{self._listen(config.web.flower_port, 5555, '127.0.0.1', 'web.flower_port')}"
            )
        except StackError:
            self.close()
            raise

    def start(self) -> None:
        """Start the embedded servers together and wait until each answers. Raises StackError or Interrupted."""
        self._check_given()
        self._servers = self._embedded()
        # The quick ones first, so that they start while Kafka is being prepared.
        for server in self._servers:
            server.prepare()
            self.supervisor.start(server.program())
        deadline = time.monotonic() + self.config.embedded.start_timeout
        for server in list(self._servers):
            self._await(server, deadline)
        self._state = "running"
        self.publish()

    def add(self, program: Program) -> None:
        self.supervisor.start(program)

    def run(self, program: Program, timeout: float) -> str:
        """Run a program to its end while everything else is supervised; its captured output.

        Raises StackError with its last telling line if it fails or takes too long, Interrupted on a signal.
        """
        child = self.supervisor.once(program)
        deadline = time.monotonic() + timeout
        while (why := child.ended()) is None:
            self.wait(_POLL)
            if time.monotonic() > deadline:
                child.kill()
                why = f"no end after {timeout:g} s"
                break
        self.supervisor.forget(program.name)
        if child.exit_code != 0:
            reason = child.reason().removeprefix("CommandError: ")
            raise StackError(f"{program.name} failed ({why}): {reason} (see {program.log})")
        return child.output.decode("utf-8", "replace")

    def wait(self, seconds: float) -> None:
        """Supervise for that long. Raises Interrupted when a signal asks for the stop."""
        deadline = time.monotonic() + seconds
        while True:
            if self._signals.stop:
                raise Interrupted
            self.supervisor.step()
            left = deadline - time.monotonic()
            if left <= 0:
                return
            self._signals.wait(min(left, 4 * _POLL))

    def close(self) -> None:
        """Stop everything in order, forget the addresses, free the home."""
        self._state = "stopping"
        self.publish()
        self.supervisor.stop(self.config.embedded.stop_timeout, self._signals)
        record.remove(self.config.home)
        self._guard.close()
        self._ports.release()
        self._lock.release()

    def document(self) -> dict[str, Any]:
        """What stack.json says. Never a password."""
        given = addresses.without_secrets(addresses.given(self.config))
        servers = {server.key: server.address for server in self._servers}
        processes = self.supervisor.pids() if hasattr(self, "supervisor") else {}
        own = {
            "state": self._state,
            "home": str(self.config.home),
            "supervisor": psutil.Process().pid,
            "supervisor_started": self._started,
            "processes": processes,
        }
        return {**given, **servers, "web": self._web, "flower": self._flower, **own}

    def publish(self) -> None:
        """Write stack.json if anything in it has changed."""
        document = self.document()
        if document != self._published:
            record.write(self.config.home, document)
            self._published = document

    def _embedded(self) -> list[Server]:
        """The servers the configuration does not give, the slowest to prepare last."""
        config, servers = self.config, list[Server]()
        if config.redis.host is None:
            servers.append(Valkey(config, self._ports))
        if config.mongodb.host is None:
            servers.append(Mongo(config, self._ports))
        if not config.kafka.bootstrap_servers:
            servers.append(Kafka(config, self._ports, self._report))
        return servers

    def _report(self, done: int, total: int) -> None:
        """Called from the download's threads."""
        if self._signals.stop:
            raise Interrupted
        self._progress(done, total)

    def _await(self, server: Server, deadline: float) -> None:
        child = self.supervisor.children[server.name]
        fault: str | None = "it has not answered yet"
        while time.monotonic() < deadline:
            if self._signals.stop:
                raise Interrupted
            if (why := child.ended()) is not None:
                if child.starts >= _TRIES:
                    raise StackError(f"{server.name} ended while starting ({why}): {child.reason()} (see {server.log})")
                # Most likely a stranger took the port between our look and the server's.
                server.move(self._ports)
                server.prepare()
                child.program = server.program()
                child.start()
                self.publish()
            if (fault := server.fault()) is None:
                return
            self._signals.wait(_POLL)
        limit = f"{self.config.embedded.start_timeout:g} s"
        raise StackError(f"{server.name} is not ready after {limit}: {fault}; {child.reason()} (see {server.log})")

    def _check_given(self) -> None:
        """A given server that the platform cannot do without must answer; the others are only mentioned."""
        for key, url in addresses.given(self.config).items():
            probe = {
                "kafka": probes.kafka,
                "redis": probes.redis,
                "database": probes.mysql,
                "mongodb": probes.mongodb,
            }.get(key)
            if probe is None or url.startswith("sqlite"):
                continue
            if (fault := _PROBES[key](url)) is not None:
                line = f"the given {key} at {addresses.without_secret(url)} does not answer: {fault}"
                if key == "mongodb":
                    self._say(line)
                else:
                    raise StackError(line)

    def _listen(self, wanted: int | None, usual: int, host: str, key: str) -> int:
        """The wanted port, else the usual one if free, else any free one."""
        if wanted is not None:
            if not self._ports.take(wanted, host):
                raise StackError(f"port {wanted} of {host} is taken: stop what listens there, or set another {key}")
            return wanted
        return usual if self._ports.take(usual, host) else self._ports.any()


def _shown(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)
