"""The engine's door: takes orders straight from nodes while Kafka cannot carry them (`market.direct`).

A caller has to know the secret, and to be quick; each has a thread of its own, of which there are only so many. What is
then done with its orders, the reception says.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from datetime import UTC, datetime, timedelta

import msgspec
from django.db import Error as DatabaseError
from django.db import connections

from market import direct
from market.alerting import Alerter
from market.engine.reception import Reception
from market.engine.transactions import writing
from market.models import EngineDoor

log = logging.getLogger(__name__)

_AT_ONCE = 8
_PATIENCE = 2.0
"""Seconds that a caller may take for its call; who is slower, or hangs, is hung up on."""
_LOOK = 0.5
_SAY_EVERY = 60.0
_SAY_AGAIN = 2.0
_GONE = timedelta(days=1)
"""An engine that has not said for so long that its door is open is not there; by any machine's clock."""
_EVERY = 60.0


class Door:
    """`name` is the engine's; what callers bring goes to `reception`."""

    def __init__(
        self, name: str, address: tuple[str, int], reception: Reception, alerter: Alerter, patience: float = _PATIENCE
    ) -> None:
        """Listens from here on, at a free port if that is 0. Raises OSError if it cannot."""
        self._name = name
        self._reception = reception
        self._alerter = alerter
        self._patience = patience
        self._key = direct.key()
        self._listener = socket.create_server(address, backlog=64)
        self._listener.settimeout(_LOOK)
        host, port = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (socket.gethostname() if host in ("0.0.0.0", "::") else host, port)
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._say_at = float("-inf")
        self.refused = 0

    def run(self, stop: threading.Event) -> None:
        """The thread: answers until `stop` is set, each caller in a thread of its own: none holds up another."""
        log.info("Nodes find this engine at %s:%d while Kafka is away", *self.address)
        try:
            while not stop.is_set():
                if time.monotonic() >= self._say_at:
                    self._advertise()
                try:
                    connection, peer = self._listener.accept()
                except TimeoutError:
                    continue
                except OSError as error:
                    log.warning("A caller could not be let in: %s", error)  # no more file handles, perhaps
                    stop.wait(_LOOK)
                    continue
                if not self._room.acquire(blocking=False):
                    connection.close()  # it calls again
                    continue
                threading.Thread(
                    target=self._serve, args=(connection, peer), name=f"door-{peer[1]}", daemon=True
                ).start()
        finally:
            self._close()

    def _advertise(self) -> None:
        """Say where it is, and forget those that have not said so for long: a killed engine's has its name for ever."""
        host, port = self.address
        now = datetime.now(UTC)
        facts = {"host": host, "port": port, "opened_at": now}
        try:
            with writing():
                EngineDoor.objects.update_or_create(name=self._name, defaults=facts)
                EngineDoor.objects.filter(opened_at__lt=now - _GONE).delete()
            self._say_at = time.monotonic() + _SAY_EVERY
        except DatabaseError as error:
            log.warning("Nodes may not know of this engine's door: %s", error)
            self._say_at = time.monotonic() + _SAY_AGAIN
            connections.close_all()

    def _close(self) -> None:
        """No new caller; those under way are heard out. The advertisement goes with it."""
        self._listener.close()
        deadline = time.monotonic() + self._patience
        for _ in range(_AT_ONCE):
            self._room.acquire(timeout=max(0.0, deadline - time.monotonic()))
        try:
            EngineDoor.objects.filter(name=self._name, port=self.address[1]).delete()
        except DatabaseError as error:
            log.warning("Nodes will still call at this engine's door: %s", error)

    def _serve(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        try:
            with connection:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._converse(connection, peer)
        except direct.DoorError as error:
            log.info("A caller from %s:%d was given up: %s", *peer, error)
        except Exception:
            # One caller must not end the door; the node calls again.
            log.exception("A call from %s:%d failed", *peer)
        finally:
            connections.close_all()
            self._room.release()

    def _converse(self, connection: socket.socket, peer: tuple[str, int]) -> None:
        line = direct.Line(connection, self._key, b"engine", time.monotonic() + self._patience)
        line.challenge()
        try:
            call = direct.decode_call(line.hear())
        except direct.Refused as error:
            self._on_refused(peer, error)
            line.refuse()
            return
        except msgspec.MsgspecError as error:
            raise direct.Malformed(str(error)) from error
        if len(call.messages) > direct.MOST_MESSAGES:
            raise direct.Malformed(f"{len(call.messages)} messages at once are too many")
        answer = self._reception.take(call)
        line.extend(self._patience)
        line.say(direct.encode(answer))

    def _on_refused(self, peer: tuple[str, int], error: direct.Refused) -> None:
        self.refused += 1
        self._alerter.raise_alert(
            "door_refused",
            "critical",
            f"A call from {peer[0]} was refused: {error} (is engine.door_secret the same everywhere?)",
            at_most_every=_EVERY,
            subject=peer[0],
            host=peer[0],
        )
