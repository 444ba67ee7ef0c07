"""One portfolio's thread: it restores it, lets it catch up, and from then on applies what comes (SPEC N2, N7).

Every way into running — first start, migration, failover, overload, an error in a component, the end of fencing — is
the same: restore the checkpoint, send again what was not answered, read on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from typing import Literal

import msgspec
from confluent_kafka import KafkaException
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from market import topics
from market.bus import KafkaUnavailable, reason_of
from market.messages import Feedback
from market.models import OutboxMessage
from nodes import adjustments, ending, joining, reload, runtime
from nodes.answers import OUTBOX_TOPIC, Answers
from nodes.checkpointer import Request
from nodes.context import Context
from nodes.direct import may_go
from nodes.ending import Discarded, Ending, Interrupted
from nodes.holding import Holding
from nodes.pace import Pace
from nodes.runtime import Key, Poisoned, Runtime, Unloadable, key_of
from nodes.subscription import Item, Position, Subscription
from nodes.thread import NodeThread
from portfolios import checkpoints, lifecycle, ownership
from portfolios.calendars import CalendarError
from portfolios.kernel.events import Cause
from portfolios.kernel.money import to_decimal
from portfolios.kernel.orders import Intent, Order
from portfolios.kernel.portfolio import FeedbackGap
from portfolios.kernel.signals import Decision
from portfolios.models.portfolio import DesiredState, Status

log = logging.getLogger(__name__)

_TRIES = 3
_PAUSE = 0.05
_VIEW_EVERY = 1.0
_PATIENCE = 30.0
"""Seconds for which a portfolio may try to start before somebody is told."""
_SAY_EVERY = 300.0


class Processor(NodeThread):
    """`running` is set once it is live. `end(...)` decides how it stops; `given_back` says whether it gave it back."""

    def __init__(self, context: Context, portfolio_id: str, epoch: int) -> None:
        super().__init__(f"portfolio_{portfolio_id[:8]}_{context.node_id}")
        self.context = context
        self.portfolio_id = portfolio_id
        self.epoch = epoch
        self.running = threading.Event()
        self.runtime: Runtime | None = None
        self.failure = ""
        self.loaded_version = 0
        self.given_back = False
        self.target = ownership.NOBODY
        self.applied = 0
        self.skipped = 0
        self.dropped = 0
        self.pressure = 0
        self._wake = threading.Event()
        self.ending: Ending = ""
        self.deadline = float("inf")
        self._market: Subscription | None = None
        self._feedback: Subscription | None = None
        self._failures: dict[Key, int] = {}
        self._skip: frozenset[Key] = frozenset()
        self._unwritable = ""
        self._sent_at: dict[str, float] = {}
        self._resend_now = threading.Event()
        self.holding = Holding(self.stopping)
        self._answers = Answers()
        self.pace = Pace()
        self._saved_at = 0.0
        self._viewed_at = 0.0
        self._reload = threading.Event()
        self._adjust = threading.Event()
        self.refused_version = 0
        self._refused_until = float("inf")
        self._failing_since: float | None = None
        self.positions: set[Position] = set()
        self._feedback_positions: set[Position] = set()
        self.view: dict[str, str] = {}
        self.decisions: deque[Decision] = deque(maxlen=500)

    # -- called by others ------------------------------------------------------------------------------------------

    def end(self, how: Ending, deadline: float = float("inf")) -> None:
        """Stop: `discard` at once and silently, or finish, save and give the portfolio back before the deadline.

        What is to be discarded stays so: somebody else owns it.
        """
        if self.ending != "discard":
            self.ending = how
            self.deadline = deadline
        self.request_stop()

    def request_stop(self) -> None:
        super().request_stop()
        self._wake.set()

    def _rouse(self) -> None:
        """There is something in a queue. Who is awake looks there after clearing this, and is not told twice."""
        if not self._wake.is_set():
            self._wake.set()

    def reload(self) -> None:
        """A newer configuration is there: take it over as soon as what is queued now is applied (SPEC N5)."""
        self._reload.set()
        self._wake.set()

    def adjust(self) -> None:
        """Somebody has asked for a deposit or a correction: book it between two events."""
        self._adjust.set()
        self._wake.set()

    def take_decisions(self) -> list[bytes]:
        """What was decided since the last call, oldest first, as JSON."""
        taken: list[bytes] = []
        while self.decisions:
            taken.append(msgspec.json.encode(self.decisions.popleft()))
        return taken

    @property
    def drops(self) -> int:
        market = self._market
        return self.dropped + (market.dropped if market is not None else 0)

    @property
    def pressures(self) -> int:
        market = self._market
        return self.pressure + (market.pressure if market is not None else 0)

    @property
    def queued(self) -> int:
        return sum(s.queued for s in (self._market, self._feedback) if s is not None)

    @property
    def config_version(self) -> int:
        """The newest version it has taken over or refuses; 0 while it starts."""
        if self.runtime is None:
            return 0
        refused = self.refused_version if time.monotonic() < self._refused_until else 0
        return max(self.runtime.config_version, refused)

    # -- the thread ------------------------------------------------------------------------------------------------

    def work(self) -> None:
        while not self._done():
            try:
                if self.stopping.is_set():
                    ending.give_back_as_saved(self)
                    return
                self._start()
                close_old_connections()  # it may be hours until the next question to MySQL
                self._live()
                return
            except Poisoned as poisoned:
                self._on_poisoned(poisoned)
            except FeedbackGap as gap:
                self.alert("data_gap", "critical", f"waits for its feedback: {gap}", at_most_every=60)
                self._pause()
            except Interrupted:
                log.info("Portfolio %s stops before it is live", self.portfolio_id)
            except reload.DrainTimeout as late:
                log.warning("Portfolio %s joins again from its checkpoint: %s", self.portfolio_id, late)
            except Discarded as reason:
                self.end("discard")
                log.warning("Portfolio %s is dropped: %s", self.portfolio_id, reason)
            except Unloadable as error:
                self._on_unloadable(str(error))
            except (KafkaException, KafkaUnavailable, DatabaseError, CalendarError) as error:
                self._on_out_of_reach(error)
                connection.close()
                self._pause()
            finally:
                self._leave()
        if self._unwritable:
            self._on_unloadable(f"its checkpoint cannot be written: {self._unwritable}")

    def _done(self) -> bool:
        """Whoever is to give its portfolio back tries until the deadline; all others end when they are asked to."""
        if not self.stopping.is_set():
            return False
        return self.ending in ("", "discard") or time.monotonic() >= self.deadline

    def _pause(self) -> None:
        self._wake.clear()
        self._wake.wait(1.0)

    def _leave(self) -> None:
        self.running.clear()
        for consumer, subscription in ((self.context.market, self._market), (self.context.feedback, self._feedback)):
            if subscription is not None:
                consumer.detach(subscription.portfolio_id)
        if self._market is not None:
            self.dropped += self._market.dropped
            self.pressure += self._market.pressure
        self._market = self._feedback = None
        self.holding.clear()
        self.context.checkpointer.forget(self.portfolio_id)

    # -- starting (N7) -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """1. restore; 2. send again; 3. register with the live stream; 4. read up to there; 5. checkpoint; 6. live.

        A crash after any of these leaves the checkpoint as it was found, or as step 5 wrote it: the successor begins
        anew with the same ids.
        """
        term = self.context.sender.term
        loaded = ending.load(self)
        self.loaded_version = loaded.version
        if loaded.desired_state == DesiredState.STOPPED:
            # Its user stopped it while nobody ran it: it must not trade for the moment until somebody notices.
            self.end("user_stop")
            raise Interrupted
        stopped_by_user = bool(loaded.state) and not _has_market(loaded.offsets)
        self._forget_decided(loaded.offsets)
        run, refused = runtime.restore(loaded, self.context.rules(loaded.market))
        self.runtime = run
        if refused:
            self.refuse(loaded.version, refused)
        if not stopped_by_user:
            self._send_again(run, run.portfolio.unanswered(), term)

        self.positions = self.context.market_positions(run.portfolio.codes)
        joining.keep_only(run, self.positions)
        policy = run.portfolio.config.policy.backpressure
        market = self._market = Subscription(
            self.portfolio_id, run.keys, policy, self.context.limits.max_queue_size, self._rouse
        )
        feedback = self._feedback = Subscription(
            self.portfolio_id, frozenset({self.portfolio_id.encode()}), None, 0, self._rouse
        )
        self._feedback_positions = {self.context.feedback_position(self.portfolio_id)}
        # A version's first checkpoint holds its partitions and its past, for who takes over later finds them there: so
        # none is written before the market is joined.
        joining.join(self, run, self.context.feedback, feedback, self._feedback_positions, quiet=True)
        # A state alone proves nothing: a deposit or a position may have been booked before it ever read a price.
        new = not _has_market(loaded.offsets) or loaded.checkpoint_version != run.config_version
        joining.join(
            self, run, self.context.market, market, self.positions, run.portfolio.cold if new else joining.NO_CODES
        )
        if stopped_by_user:
            run.intents.extend(run.portfolio.cancel_unanswered(Cause("ginkgo.start", 0, self.epoch)))
            # Cancels of before the stop among them: they are sent again when they are overdue, like all that is.
            self._sent_at = dict.fromkeys(map(_id, run.portfolio.unanswered()), time.monotonic())
        self._take_adjustments(run, market)
        self.save(wait=True)
        if self.stopping.is_set():
            raise Interrupted
        self.look(run)
        lifecycle.enter(self.portfolio_id, Status.RUNNING, refused, taking_over=True, epoch=self.epoch)
        self.running.set()
        self._failing_since = None
        log.info("PortfolioProcessor-%s started at epoch %d (%s)", self.portfolio_id, self.epoch, loaded.name)

    def _forget_decided(self, offsets: checkpoints.Offsets) -> None:
        """Of the events that failed, remember only those that may still come."""

        def may_come(key: Key) -> bool:
            topic, partition, offset = key
            return offset >= offsets.get(topic, {}).get(partition, 0)

        self._skip = frozenset(filter(may_come, self._skip))
        self._failures = {key: tries for key, tries in self._failures.items() if may_come(key)}

    def _send_again(self, run: Runtime, intents: list[Intent], term: int) -> None:
        straight = may_go(run.portfolio, intents)
        if intents and self.context.sender.send(intents, self.epoch, self._on_failure, term, straight):
            log.info("Portfolio %s: sent again %d orders without an answer", self.portfolio_id, len(intents))
        now = time.monotonic()
        self._sent_at = {_id(intent): now for intent in intents}

    # -- living ------------------------------------------------------------------------------------------------------

    def _live(self) -> None:
        run, market, feedback = self.runtime, self._market, self._feedback
        assert run is not None and market is not None and feedback is not None
        while not self.stopping.is_set():
            self.wait_until_allowed()
            worked = self.step(run, market, feedback)
            self.timers(run, market)
            if self._reload.is_set():
                self._reload.clear()
                reload.reload(self, run, market, feedback)
                close_old_connections()
            elif self._adjust.is_set():
                self._adjust.clear()
                self._take_adjustments(run, market)
                close_old_connections()
            elif worked:
                continue
            elif market.halted is not None:
                joining.catch_up(self, run, self.context.market, market, self.positions, None)
                continue
            elif feedback.halted is not None:
                joining.catch_up(self, run, self.context.feedback, feedback, self._feedback_positions, None)
                continue
            self.rest()
        if self.ending in ("give_back", "user_stop"):
            ending.finish(self, run, market, feedback)

    def rest(self) -> None:
        """Until there may be something to do, or a moment."""
        self._wake.wait(_PAUSE)
        self._wake.clear()

    def took_feedback(self, count: int) -> None:
        """So many of the feedback that was queued are applied."""
        if self._feedback is not None:
            self._feedback.took(count)

    def step(self, run: Runtime, market: Subscription, feedback: Subscription) -> bool:
        """Apply one batch, or as much of it as takes a moment, feedback first; whether there was one."""
        subscription, items = feedback, self.holding.sift(run, [] if self.holding else feedback.pop() or [])
        if not items:
            subscription, items = market, market.pop() or []
        if not items:
            return False
        if len(items) > self.pace.size:
            rest, items = items[self.pace.size :], items[: self.pace.size]
            if subscription is feedback:
                self.holding.put_back(rest)
            else:
                subscription.put_back(rest)
        try:
            self.apply(run, items)
        finally:
            subscription.took(len(items))
        if run.intents or run.ledger or subscription is feedback:
            self.save()
        return True

    def apply(self, run: Runtime, items: list[Item]) -> None:
        """Apply them all, and learn how long that takes."""
        begun = time.monotonic()
        if isinstance(items[0].event, Feedback):
            for item in items:
                self._apply_feedback(run, item)
        else:
            run.apply(items, self._skip)
        self.applied += len(items)
        self.pace.learn(len(items), time.monotonic() - begun)

    def _apply_feedback(self, run: Runtime, item: Item) -> None:
        event = item.event
        assert isinstance(event, Feedback)
        if event.pseq > run.portfolio.pseq + 1:
            self._fill_gap(run, event.pseq)
        run.apply([item], self._skip)
        self._sent_at.pop(event.order_id, None)

    def _fill_gap(self, run: Runtime, upto: int) -> None:
        """Feedback that did not come by Kafka is read from the engine's outbox table (SPEC P4)."""
        rows = OutboxMessage.objects.filter(
            portfolio_id=self.portfolio_id, pseq__gt=run.portfolio.pseq, pseq__lt=upto
        ).order_by("pseq")
        for row in rows:
            missing = self.context.feedback.decode(row.message.encode())
            assert isinstance(missing, Feedback)
            run.apply([Item(missing, Cause(OUTBOX_TOPIC, 0, row.pseq))], self._skip)
        log.info("Portfolio %s: read feedback up to %d from the outbox", self.portfolio_id, run.portfolio.pseq)

    def timers(self, run: Runtime, market: Subscription | None) -> None:
        """What is done now and then; `market` only where nothing is left in the log that it has halted before."""
        now = time.monotonic()
        if now - self._viewed_at >= _VIEW_EVERY:
            self._viewed_at = now
            self.look(run)
        if self.context.sender.degraded and (answers := self._answers.take(run, now)):
            self.apply(run, answers)
            self.save()
        if self._resend_now.is_set() or self._overdue(now):
            self._resend(run, now)
        if now - self._saved_at >= self.context.limits.checkpoint_interval:
            if market is not None and self._feedback is not None:
                self._note_positions(run, market, self._feedback)
            self._saved_at = now
            if run.dirty or run.intents:
                self.save()

    def look(self, run: Runtime) -> None:
        """What the outside sees of this portfolio; made here, in its own thread, and replaced whole."""
        portfolio = run.portfolio
        self.decisions.extend(portfolio.take_decisions())
        self.view = {
            "cash": str(to_decimal(portfolio.cash)),
            "total_value": str(to_decimal(portfolio.total_value)),
            "frozen": str(to_decimal(portfolio.frozen)),
            "position_count": str(sum(1 for p in portfolio.positions.values() if p.volume)),
            "open_orders": str(len(portfolio.open_orders())),
            "node_id": self.context.node_id,
            "epoch": str(self.epoch),
            "version": str(run.config_version),
            "event_time": portfolio.now.isoformat(),
            "pseq": str(portfolio.pseq),
        }

    def _note_positions(self, run: Runtime, market: Subscription, feedback: Subscription) -> None:
        """Move the offsets on over what nobody here wanted. Read before looking at the queue: see LogConsumer."""
        positions = self.context.market.positions
        if market.whole and not market.batches:
            run.advance({position: offset for position, offset in positions.items() if position in self.positions})
        told = self.context.feedback.positions
        if feedback.whole and not feedback.batches and not self.holding:
            run.advance({place: offset for place, offset in told.items() if place in self._feedback_positions})

    def _overdue(self, now: float) -> bool:
        return any(now - at >= self.context.limits.resend_interval for at in self._sent_at.values())

    def _resend(self, run: Runtime, now: float) -> None:
        """Checkpoint, then send all that is unanswered: what is sent is in a committed checkpoint, always."""
        self._resend_now.clear()
        pending = {_id(intent) for intent in run.intents}
        again = [intent for intent in run.portfolio.unanswered() if _id(intent) not in pending]
        self._sent_at = {}
        run.intents[:0] = again
        if run.intents:
            self.save()

    def _take_adjustments(self, run: Runtime, market: Subscription) -> None:
        if adjustments.take(self, run):  # a position in another code wants that code's prices
            reload.register(self, run, market, self.context.limits.start_timeout)

    def _on_failure(self, _intent: Intent) -> None:
        self._resend_now.set()
        self._wake.set()

    # -- saving ------------------------------------------------------------------------------------------------------

    def save(self, wait: bool = False) -> None:
        """Hand a checkpoint over; with `wait`, until it is committed (or the portfolio is lost, or to be discarded)."""
        run = self.runtime
        assert run is not None
        save, intents = run.take_save()
        committed = threading.Event()
        now = self._saved_at = time.monotonic()
        for intent in intents:
            self._sent_at[_id(intent)] = now
        self.context.checkpointer.submit(
            Request(
                save,
                intents,
                on_committed=(committed.set,) if wait else (),
                on_lost=self._on_lost,
                on_failure=self._on_failure,
                on_held=self._resend_now.set,
                on_refused=self._on_refused,
                may_go_straight=may_go(run.portfolio, intents) if intents else frozenset(),
            )
        )
        while wait and not committed.wait(_PAUSE):
            if self.ending == "discard" or time.monotonic() > self.deadline:
                raise Discarded("it was given up while its checkpoint was being written")

    def _on_lost(self) -> None:
        """The checkpoint found another epoch: someone else owns it now."""
        log.warning("Portfolio %s is not ours any more (epoch %d is over)", self.portfolio_id, self.epoch)
        self.end("discard")

    def _on_refused(self, error: Exception) -> None:
        """The database is there, and will not take this checkpoint: trying again would not help."""
        self._unwritable = f"{type(error).__name__}: {error}"
        self.end("discard")

    def wait_until_allowed(self) -> None:
        """Hold still while the node's lease is over or checkpoints cannot be written; events wait in the log."""
        while not (self.context.lease.valid and self.context.checkpointer.healthy.is_set()):
            self._resend_now.set()  # when it goes on, all that is unanswered
            if self.stopping.wait(_PAUSE):
                return

    def enter(self, status: Status, reason: str = "") -> None:
        """Say where it is in its lifecycle, as long as it is ours."""
        lifecycle.enter(self.portfolio_id, status, reason, epoch=self.epoch)

    # -- trouble -----------------------------------------------------------------------------------------------------

    def _on_poisoned(self, poisoned: Poisoned) -> None:
        """Restore the last checkpoint and try again; at the third time skip the event, and go on (SPEC P4)."""
        cause, key = poisoned.item.cause, key_of(poisoned.item)
        tries = self._failures[key] = self._failures.get(key, 0) + 1
        log.error(
            "Portfolio %s: %s at %s, try %d", self.portfolio_id, poisoned, _where(cause), tries, exc_info=poisoned.error
        )
        if tries >= _TRIES:
            self._skip |= {key}
            self.skipped += 1
            self.alert("component_error", "critical", f"skips the event at {_where(cause)}, which fails: {poisoned}")

    def _on_out_of_reach(self, error: Exception) -> None:
        """A server does not let it run: it tries again for ever, and after a while somebody is told."""
        why = reason_of(error)
        log.warning("Portfolio %s starts again in a moment: %s", self.portfolio_id, why)
        now = time.monotonic()
        if self._failing_since is None:
            self._failing_since = now
        failing = now - self._failing_since
        if failing >= _PATIENCE:
            what = f"has not been able to start for {failing:.0f} s, and goes on trying: {why}"
            self.alert("start_failed", "critical", what, at_most_every=_SAY_EVERY)

    def refuse(self, version: int, why: str, seconds: float = float("inf")) -> None:
        """The old configuration goes on, and this version is not tried again for so long."""
        self.refused_version = version
        self._refused_until = time.monotonic() + seconds
        pause = _SAY_EVERY if seconds < float("inf") else 0.0
        what = f"goes on with its old configuration: {why}"
        self.alert("reload_failed", "critical", what, at_most_every=pause)

    def _on_unloadable(self, why: str) -> None:
        self.failure = why
        self.end("discard")
        self.alert("component_error", "critical", f"cannot be run: {why}")
        self.enter(Status.ERROR, why)

    def alert(
        self, alert_type: str, severity: Literal["warning", "critical"], what: str, at_most_every: float = 0.0
    ) -> None:
        self.context.alerter.raise_alert(
            alert_type,
            severity,
            f"Portfolio {self.portfolio_id} {what}",
            at_most_every=at_most_every,
            subject=self.portfolio_id,
            portfolio_id=self.portfolio_id,
            epoch=self.epoch,
        )


def _id(intent: Intent) -> str:
    return intent.order_id if isinstance(intent, Order) else intent.cancel_id


def _has_market(offsets: checkpoints.Offsets) -> bool:
    return any(topic in topics.MARKET_DATA.values() for topic in offsets)


def _where(cause: Cause) -> str:
    return f"{cause.topic}:{cause.partition}:{cause.offset}"
