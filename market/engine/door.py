"""The engine's door: takes orders straight from nodes while Kafka cannot carry them (`market.direct`).

What comes in is taken in by the same desk as what comes by Kafka, under the same lock, in the same transaction: epoch,
repetition, tombstone, checks. So the same order by both ways is one order. Only portfolios whose partition of the log
is this engine's are served, for their open orders are its care; or, while no engine is known to have it, anybody's.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, connections

from market import direct
from market.alerting import Alerter
from market.engine.desk import Desk
from market.engine.transactions import writing
from market.messages import OrderMessage, id_of
from market.models import EngineDoor

log = logging.getLogger(__name__)

_AT_ONCE = 8
_PATIENCE = 2.0
"""Seconds that a caller may take for its call; who is slower, or hangs, is hung up on."""
_LOOK = 0.5
_EVERY = 60.0


class Door:
    """`mine` says which portfolios are served, `unclaimed` that those of nobody are too."""

    def __init__(
        self,
        name: str,
        address: tuple[str, int],
        desk: Desk,
        mine: Callable[[str], bool],
        unclaimed: Callable[[], bool],
        alerter: Alerter,
        patience: float = _PATIENCE,
    ) -> None:
        """Listens from here on, at a free port if that is 0. Raises OSError if it cannot."""
        self._name = name
        self._desk = desk
        self._mine = mine
        self._unclaimed = unclaimed
        self._alerter = alerter
        self._patience = patience
        self._key = direct.key()
        self._listener = socket.create_server(address, backlog=64)
        self._listener.settimeout(_LOOK)
        host, port = self._listener.getsockname()[:2]
        self.address: tuple[str, int] = (socket.gethostname() if host in ("0.0.0.0", "::") else host, port)
        self._room = threading.BoundedSemaphore(_AT_ONCE)
        self._advertised = False
        self.taken = 0
        self.refused = 0

    def run(self, stop: threading.Event) -> None:
        """The thread: answers until `stop` is set, each caller in a thread of its own: none holds up another."""
        log.info("Nodes find this engine at %s:%d while Kafka is away", *self.address)
        try:
            while not stop.is_set():
                if not self._advertised:
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
        host, port = self.address
        facts = {"host": host, "port": port, "opened_at": datetime.now(UTC)}
        try:
            with writing():
                EngineDoor.objects.update_or_create(name=self._name, defaults=facts)
            self._advertised = True
        except DatabaseError as error:
            log.warning("Nodes do not know of this engine's door yet: %s", error)
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
        answer = self.take(call)
        line.extend(self._patience)
        line.say(direct.encode(answer))

    def take(self, call: direct.Call) -> direct.Answer:
        """What the call comes to; it is all in the books, or it has a fault and none of it is (or so it seems)."""
        anyone = call.anyone and self._unclaimed()
        try:
            taken = self._desk.receive(call.messages, datetime.now(UTC), lambda pid: anyone or self._mine(pid))
        except (OperationalError, InterfaceError) as error:
            return direct.Answer(fault=f"the database does not answer: {error}")
        except Exception as error:
            # As with the log: one order that cannot be taken in must not keep others from it.
            if len(call.messages) > 1:
                return self._one_by_one(call)
            log.exception("Order %s cannot be taken in", call.messages[0].order_id)
            return direct.Answer(fault=f"it cannot be taken in: {type(error).__name__}")
        self.taken += len(taken)
        outcomes: dict[str, str] = {id_of(each.message): str(each.outcome) for each in taken}
        if taken:
            log.info("%d orders and cancels came straight from a node", len(taken))
        return direct.Answer([outcomes.get(id_of(each), direct.ELSEWHERE) for each in call.messages])

    def _one_by_one(self, call: direct.Call) -> direct.Answer:
        def outcome(message: OrderMessage) -> str:
            answer = self.take(direct.Call([message], call.anyone))
            return answer.outcomes[0] if answer.outcomes else direct.FAILED

        return direct.Answer([outcome(message) for message in call.messages])

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
