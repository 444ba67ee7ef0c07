"""Writes checkpoints and only then lets orders go: write before speak (SPEC N6).

A thread does it, and one statement serves all portfolios that are due, or as many of them as make up 2 MB. Where an
order waits, nothing else is due and the database is quick, the processor that submits it writes it at once, in the
thread's place: the order need not wait until two threads have had their turn at a processor.

The steps, and what a crash after each leaves behind:

1. a processor submits its snapshot, offsets and new intents — nothing is written: the successor decides anew;
2. the checkpoint is committed — the intents are in it: the successor sends them;
3. the intents are handed to Kafka — the successor sends them again under the same ids, and the engine knows them;
4. the processor is told — nothing more to lose.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime

from django.db import Error as DatabaseError
from django.db import InterfaceError, OperationalError, close_old_connections, connection

from market.alerting import Alerter
from nodes.sender import Sender
from nodes.shared_connection import SharedConnection
from nodes.thread import NodeThread
from portfolios import checkpoints
from portfolios.checkpoints import Save
from portfolios.kernel.orders import Intent

log = logging.getLogger(__name__)

_TOO_LONG = 5.0
_QUICK = 0.01
"""Seconds. A processor that writes applies nothing meanwhile: where the last write took longer, the thread does it."""
_AT_ONCE = 2_000_000
"""Bytes of state in one statement: clients of databases hold them several times over. One portfolio may have more."""


@dataclass(frozen=True)
class Request:
    """A checkpoint that is due, what may be sent once it is committed, and what of it, by id, need not go by Kafka.

    `on_committed`: all who are to be told, for a request may be several in one.
    """

    save: Save
    intents: tuple[Intent, ...] = ()
    on_committed: tuple[Callable[[], None], ...] = ()
    on_lost: Callable[[], None] = field(default=lambda: None)
    on_failure: Callable[[Intent], None] = field(default=lambda _intent: None)
    on_held: Callable[[], None] = field(default=lambda: None)
    on_refused: Callable[[Exception], None] = field(default=lambda _error: None)
    may_go_straight: frozenset[str] = frozenset()


def merge(older: Request, newer: Request) -> Request:
    """One request for both: the newer state holds the older's orders, so they may go when it is committed.

    The older state is let go: a slow database makes hundreds of requests into one, and each has all of a portfolio.
    """
    return replace(
        newer,
        save=replace(newer.save, ledger=older.save.ledger + newer.save.ledger),
        intents=older.intents + newer.intents,
        may_go_straight=older.may_go_straight | newer.may_go_straight,
        on_committed=older.on_committed + newer.on_committed,
    )


class Checkpointer(NodeThread):
    """`healthy` is cleared while the database is away; processors then wait, and events wait in the log.

    `writing_since` is the monotonic time at which the write under way began, None if there is none.
    """

    def __init__(self, name: str, sender: Sender, alerter: Alerter) -> None:
        super().__init__(name)
        self._sender = sender
        self._alerter = alerter
        self._lock = threading.Condition()
        self._pen = threading.Lock()
        """Whoever writes holds it; taken before `_lock`."""
        self._connection = SharedConnection()
        self._wake = threading.Event()
        self._due: dict[str, Request] = {}
        self._writing: frozenset[str] = frozenset()
        self._forgotten: set[str] = set()
        self.writing_since: float | None = None
        self.healthy = threading.Event()
        self.healthy.set()
        self.written = 0
        self.last_write_seconds = 0.0

    @property
    def works(self) -> bool:
        """The database takes what it is given; a write that takes too long counts as one that failed."""
        since = self.writing_since
        return self.healthy.is_set() and (since is None or time.monotonic() - since < _TOO_LONG)

    def submit(self, request: Request) -> None:
        """Ask for a checkpoint; a portfolio's earlier one that was not yet written becomes part of it.

        What of the request is called, is so by the thread that writes, which may be the caller, before this returns.
        """
        if request.intents and self._write_at_once(request):
            return
        key = request.save.portfolio_id
        with self._lock:
            older = self._due.get(key)
            if older is not None and older.save.epoch == request.save.epoch:
                request = merge(older, request)
            self._due[key] = request
        self._wake.set()

    def _write_at_once(self, request: Request) -> bool:
        """Write it in the caller's thread. False, and nothing is done, unless nobody else writes or waits for that."""
        if self.last_write_seconds > _QUICK or not self._connection.there or not self._pen.acquire(blocking=False):
            return False
        try:
            with self._lock:
                if self._due or self.stopping.is_set() or not self.healthy.is_set():
                    return False
                self._writing = frozenset({request.save.portfolio_id})
            with self._connection.borrowed():
                self._write([request])
            return True
        finally:
            self._pen.release()

    def forget(self, portfolio_id: str) -> None:
        """Drop what is due for a portfolio whose memory is discarded, and wait for a write of it that is under way.

        After this its checkpoint stands as the database has it, and nothing of the discarded life is sent any more:
        whoever loads it next may trust what it loads.
        """
        with self._lock:
            self._due.pop(portfolio_id, None)
            while portfolio_id in self._writing:
                self._forgotten.add(portfolio_id)
                self._lock.wait()

    def request_stop(self) -> None:
        super().request_stop()
        self._wake.set()

    def work(self) -> None:
        self._connection.share()
        self._write_until_stopped()
        with self._pen:  # our connection ends with us, and a portfolio that ends late may still be writing by it
            pass

    def _write_until_stopped(self) -> None:
        while not (self.stopping.is_set() and not self._due):
            self._wake.wait(0.1)
            self._wake.clear()
            written = self.step()
            self._sender.poll()
            if not written:
                # Nothing was lost: the requests are due again. Stopping, one more try was this one.
                if self.stopping.is_set():
                    return
                self.stopping.wait(0.5)
                self._wake.set()

    def step(self) -> bool:
        """Write what is due, oldest first, and send what it holds; False if the database is (still) away."""
        with self._pen:
            with self._lock:
                due = self._take()
                self._writing = frozenset(due)
            if not due:
                return self.healthy.is_set() or self._is_back()
            return self._write(list(due.values()))

    def _take(self) -> dict[str, Request]:
        """Of what is due as much as goes into one statement, and at least one; the rest is next."""
        taken: dict[str, Request] = {}
        size = 0
        for portfolio_id, request in self._due.items():
            size += len(request.save.state)
            if taken and size > _AT_ONCE:
                self._wake.set()
                break
            taken[portfolio_id] = request
        for portfolio_id in taken:
            del self._due[portfolio_id]
        return taken

    def _is_back(self) -> bool:
        """Ask the database, where all that could not be written was forgotten since: those who wait until it is back
        would else wait for a write that nobody asks for.
        """
        try:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1")
        except DatabaseError:
            connection.close()
            return False
        self.healthy.set()
        return True

    def _write(self, requests: list[Request]) -> bool:
        """Of those who are in `_writing`."""
        self.writing_since = time.monotonic()
        try:
            return self._write_or_keep(requests)
        finally:
            self.writing_since = None
            with self._lock:
                self._writing = frozenset()
                self._forgotten.clear()
                self._lock.notify_all()

    def _write_or_keep(self, requests: list[Request]) -> bool:
        """False if the database is away: then they are due again."""
        error = self._save(requests)
        if error is None:
            return True
        # One that cannot be written must not keep the others from it: each for itself, then.
        failed = {r.save.portfolio_id: (r, self._save([r])) for r in requests} if len(requests) > 1 else {
            r.save.portfolio_id: (r, error) for r in requests
        }  # fmt: skip
        again: list[Request] = []
        for request, failure in failed.values():
            if failure is None:
                continue
            error = failure
            if isinstance(failure, OperationalError | InterfaceError):
                again.append(request)
            else:
                request.on_refused(failure)
        if not again:
            return True
        self._on_database_away(again, error, all_of_them=len(again) == len(requests))
        return False

    def _save(self, requests: list[Request]) -> Exception | None:
        """Write them in one transaction and send what they hold; if that fails, nothing of it was written."""
        term = self._sender.term
        begun = time.monotonic()
        try:
            lost = checkpoints.save([r.save for r in requests], datetime.now(UTC))
        except DatabaseError as error:
            connection.close()
            return error
        except (ArithmeticError, TypeError, ValueError) as error:
            log.exception("A checkpoint holds what the database cannot take")
            return error
        self.last_write_seconds = time.monotonic() - begun
        self.written += 1
        self.healthy.set()
        for request in requests:
            if request.save.portfolio_id in lost:
                request.on_lost()
                continue
            if request.intents and not self._sender.send(
                request.intents, request.save.epoch, request.on_failure, term, request.may_go_straight
            ):
                request.on_held()
            for tell in request.on_committed:
                tell()
        return None

    def _on_database_away(self, requests: list[Request], error: Exception, all_of_them: bool) -> None:
        if all_of_them:
            self.healthy.clear()
        with self._lock:
            for request in requests:
                if request.save.portfolio_id in self._forgotten:
                    continue
                newer = self._due.get(request.save.portfolio_id)
                self._due[request.save.portfolio_id] = merge(request, newer) if newer else request
        self._wake.set()
        close_old_connections()
        self._alerter.raise_alert(
            "database_unavailable",
            "critical",
            f"Checkpoints cannot be written, no order is sent until they can: {error}",
            at_most_every=60,
        )
