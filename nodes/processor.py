"""One portfolio's thread: it restores it, lets it catch up, and from then on applies what comes (SPEC N2, N7).

Every way into running — first start, migration, failover, overload, an error in a component, the end of fencing — is
the same: restore the checkpoint, send again what was not answered, read on.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from datetime import UTC, datetime
from typing import Literal, TypeAlias

import msgspec
from confluent_kafka import KafkaException
from django.db import Error as DatabaseError
from django.db import close_old_connections, connection

from market import topics
from market.bus import KafkaUnavailable
from market.messages import Feedback
from market.models import OutboxMessage
from nodes import adjustments, reload, runtime, warmup
from nodes.checkpointer import Request
from nodes.consumer import LogConsumer
from nodes.context import Context
from nodes.joiner import JoinPlan, Reader, plan
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

Ending: TypeAlias = Literal["", "discard", "give_back", "user_stop"]
OUTBOX_TOPIC = "ginkgo.outbox"
"""Where feedback that was read from the engine's outbox table stands, as a cause."""
_NO_CODES: frozenset[str] = frozenset()
_TRIES = 3
_PAUSE = 0.05
_VIEW_EVERY = 1.0
_PATIENCE = 2.0
"""Seconds that feedback waits for the price that made it, where the market's consumer is behind the other."""
_DRAINING = 2 / 3
"""Of the time until its deadline that a portfolio which ends may spend on its queue and on answers."""


class Discarded(Exception):
    """This portfolio is not ours (any more): memory is dropped, nothing is sent."""


class Interrupted(Exception):
    """It is to stop and is not live: what it has in memory goes no further than its last checkpoint."""


class Pace:
    """How many events are applied in one go: as many as take some ten milliseconds, be they quick or slow."""

    def __init__(self) -> None:
        self.size = 1

    def learn(self, count: int, seconds: float) -> None:
        """The last go was of `count` events and took so long."""
        if seconds > 0.02:
            self.size = max(1, min(self.size, count) // 2)
        elif seconds < 0.005 and count >= self.size:
            self.size = min(2048, self.size * 2)


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
        self._ending: Ending = ""
        self._deadline = float("inf")
        self._market: Subscription | None = None
        self._feedback: Subscription | None = None
        self._failures: dict[Key, int] = {}
        self._skip: frozenset[Key] = frozenset()
        self._unwritable = ""
        self._sent_at: dict[str, float] = {}
        self._resend_now = threading.Event()
        self._held: list[Item] = []
        self._held_since = 0.0
        self._pace = Pace()
        self._saved_at = 0.0
        self._viewed_at = 0.0
        self._reload = threading.Event()
        self._adjust = threading.Event()
        self.refused_version = 0
        self.positions: set[Position] = set()
        self._feedback_positions: set[Position] = set()
        self.view: dict[str, str] = {}
        self.decisions: deque[Decision] = deque(maxlen=500)

    # -- called by others ------------------------------------------------------------------------------------------

    def end(self, ending: Ending, deadline: float = float("inf")) -> None:
        """Stop: `discard` at once and silently, or finish, save and give the portfolio back before the deadline.

        What is to be discarded stays so: somebody else owns it.
        """
        if self._ending != "discard":
            self._ending = ending
            self._deadline = deadline
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
        """The newest version it has taken over or refused; 0 while it starts."""
        return max(self.runtime.config_version, self.refused_version) if self.runtime is not None else 0

    # -- the thread ------------------------------------------------------------------------------------------------

    def work(self) -> None:
        while not self._done():
            try:
                if self.stopping.is_set():
                    self._give_back_as_saved()
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
                log.warning("Portfolio %s starts again in a moment: %s", self.portfolio_id, error)
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
        return self._ending in ("", "discard") or time.monotonic() >= self._deadline

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
        self._held, self._held_since = [], 0.0
        self.context.checkpointer.forget(self.portfolio_id)

    # -- starting (N7) -----------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """1. restore; 2. send again; 3. register with the live stream; 4. read up to there; 5. checkpoint; 6. live.

        A crash after any of these leaves the checkpoint as it was found, or as step 5 wrote it: the successor begins
        anew with the same ids.
        """
        term = self.context.sender.term
        loaded = self._load()
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
            self.refused_version = loaded.version
            self.alert("reload_failed", "critical", f"goes on with its old configuration: {refused}")
        if not stopped_by_user:
            self._send_again(run.portfolio.unanswered(), term)

        policy = run.portfolio.config.policy.backpressure
        market = self._market = Subscription(
            self.portfolio_id, run.keys, policy, self.context.limits.max_queue_size, self._rouse
        )
        feedback = self._feedback = Subscription(
            self.portfolio_id, frozenset({self.portfolio_id.encode()}), None, 0, self._rouse
        )
        self._feedback_positions = {self.context.feedback_position(self.portfolio_id)}
        self._join(run, self.context.feedback, feedback, self._feedback_positions)
        self.positions = self.context.market_positions(run.portfolio.codes)
        # A version's first checkpoint holds its past; who takes over later finds it there.
        new = not loaded.state or loaded.checkpoint_version != run.config_version
        self._join(run, self.context.market, market, self.positions, run.portfolio.cold if new else _NO_CODES)
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
        log.info("PortfolioProcessor-%s started at epoch %d (%s)", self.portfolio_id, self.epoch, loaded.name)

    def _load(self) -> checkpoints.Loaded:
        loaded = checkpoints.load(self.portfolio_id)
        if loaded is None or (loaded.node_id, loaded.epoch) != (self.context.node_id, self.epoch):
            raise Discarded("it has another owner")
        return loaded

    def _forget_decided(self, offsets: checkpoints.Offsets) -> None:
        """Of the events that failed, remember only those that may still come."""

        def may_come(key: Key) -> bool:
            topic, partition, offset = key
            return offset >= offsets.get(topic, {}).get(partition, 0)

        self._skip = frozenset(filter(may_come, self._skip))
        self._failures = {key: tries for key, tries in self._failures.items() if may_come(key)}

    def _join(
        self,
        run: Runtime,
        consumer: LogConsumer,
        subscription: Subscription,
        positions: set[Position],
        cold: frozenset[str] = _NO_CODES,
    ) -> None:
        """Register, then read what lies between the checkpoint's offsets and the point of registration."""
        self.catch_up(run, consumer, subscription, positions, {p: run.next_offset(p) for p in positions}, cold)

    def catch_up(
        self,
        run: Runtime,
        consumer: LogConsumer,
        subscription: Subscription,
        positions: set[Position],
        wanted: dict[Position, int | None] | None,
        cold: frozenset[str] = _NO_CODES,
    ) -> None:
        """Register with the live stream, and apply in its order what lies before the join points: what was queued,
        then, from the log, what follows `wanted`, or else what follows the points at which a full queue had to halt.
        The past of `cold` codes, before all that, comes from history.
        Raises Interrupted when it is to stop before it has all: the queue then holds what must not be applied.
        """
        reader = Reader(self.context.make_reader(f"{self.name}_join"), consumer.decode, consumer.poison)
        try:
            watermarks = reader.watermarks(positions)
            ends = {position: end for position, (_, end) in watermarks.items()}
            attached = consumer.attach(subscription, ends, self.context.limits.start_timeout)
            if attached is None:
                raise KafkaUnavailable(f"{consumer.name} did not answer in time")
            ids = self.context.catalogue.ids({topic for topic, _ in positions})
            recreated = frozenset(t for t, known in run.topic_ids.items() if ids.get(t, known) != known)
            if wanted is None:
                lost = {p: run.next_offset(p) for p in positions if p[0] in recreated}
                wanted = {**lost, **attached.halted}
            join = plan(wanted, attached.joins, watermarks, recreated)
            if cold:
                starts = {p: join.gaps[p].start if p in join.gaps else at for p, at in attached.joins.items()}
                self.warm_up(run, cold, starts, ids)
            for items in attached.before:
                subscription.took(len(items))
                self._catch_up_with(run, items)
            # Only now, together: a checkpoint that knew the new topic and not the loss would hide it.
            run.topic_ids.update(ids)
            self._account_for_losses(run, join, attached.joins)
            for items in reader.read(join.gaps, subscription.keys, self.stopping):
                self._catch_up_with(run, items)
            if self.stopping.is_set():
                raise Interrupted
            run.advance({**attached.joins, **self._first_held(consumer)})
        finally:
            reader.close()

    def _first_held(self, consumer: LogConsumer) -> dict[Position, int]:
        """Where feedback goes on that is held back: it is not decided yet, wherever its queue begins."""
        if consumer is not self.context.feedback or not self._held:
            return {}
        topic, partition, offset = self._held[0].cause
        return {(topic, partition): offset}

    def warm_up(self, run: Runtime, cold: frozenset[str], starts: dict[Position, int], ids: dict[str, str]) -> None:
        """Let it see the past of `cold` codes, up to `starts`."""
        warmup.warm_up(run, self.context.history, cold, starts, ids, lambda code: self.context.market_positions([code]))

    def _catch_up_with(self, run: Runtime, items: list[Item]) -> None:
        """Apply them, looking up from the work often enough to stop, to save and to be seen."""
        while items:
            piece, items = items[: self._pace.size], items[self._pace.size :]
            self.wait_until_allowed()
            if self.stopping.is_set():
                raise Interrupted
            held = len(self._held)
            if isinstance(piece[0].event, Feedback):
                piece = self._sift(run, piece)
            if piece:
                self._apply(run, piece)
            if self._held and (told := self._sift(run, [])):
                self._apply(run, told)
            assert self._feedback is not None
            self._feedback.took(held - len(self._held))  # what is held back counts as queued
            if run.intents:
                self.save()
            self._timers(run, None)

    def _account_for_losses(self, run: Runtime, join: JoinPlan, joins: dict[Position, int]) -> None:
        """What the log can no longer tell is said loudly; the ids of what follows are those of a new life."""
        if not join.losses:
            return
        run.portfolio.incarnation += 1
        run.rewind({p: join.gaps[p].start if p in join.gaps else joins[p] for p in join.losses})
        what = "; ".join(f"{topic}:{partition}: {why}" for (topic, partition), why in sorted(join.losses.items()))
        self.alert("data_gap", "critical", f"has lost part of its log, incarnation {run.portfolio.incarnation}: {what}")

    def _send_again(self, intents: list[Intent], term: int) -> None:
        if intents and self.context.sender.send(intents, self.epoch, self._on_failure, term):
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
            self._timers(run, market)
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
                self.catch_up(run, self.context.market, market, self.positions, None)
                continue
            elif feedback.halted is not None:
                self.catch_up(run, self.context.feedback, feedback, self._feedback_positions, None)
                continue
            self._wake.wait(_PAUSE)
            self._wake.clear()
        if self._ending in ("give_back", "user_stop"):
            self._finish(run, market, feedback)

    def step(self, run: Runtime, market: Subscription, feedback: Subscription) -> bool:
        """Apply one batch, or as much of it as takes a moment, feedback first; whether there was one."""
        subscription, items = feedback, self._due(run, feedback)
        if not items:
            subscription, items = market, market.pop() or []
        if not items:
            return False
        if len(items) > self._pace.size:
            rest, items = items[self._pace.size :], items[: self._pace.size]
            if subscription is feedback:
                self._held[:0] = rest
            else:
                subscription.put_back(rest)
        try:
            self._apply(run, items)
        finally:
            subscription.took(len(items))
        if run.intents or run.ledger or subscription is feedback:
            self.save()
        return True

    def _due(self, run: Runtime, feedback: Subscription) -> list[Item]:
        """The oldest feedback, but for what the market's consumer is yet to bring the price of: nobody hears of a fill
        before the price at which it traded, whichever of the two is quicker (SPEC P8). Not longer than a moment, and
        not while it ends: an answer matters more than its place."""
        return self._sift(run, [] if self._held else feedback.pop() or [])

    def _sift(self, run: Runtime, items: list[Item]) -> list[Item]:
        """Of the feedback that is held back, and then of this, what is due; the rest is held back."""
        items = self._held + items
        due = self._are_due(run, items)
        items, self._held = items[:due], items[due:]
        return items

    def _are_due(self, run: Runtime, items: list[Item]) -> int:
        """How many of these, from the first on."""
        for number, item in enumerate(items):
            if self.stopping.is_set() or not _is_early(item, run):
                continue
            now = time.monotonic()
            self._held_since = self._held_since or now
            if now - self._held_since < _PATIENCE:
                return number
            break
        if items:
            self._held_since = 0.0
        return len(items)

    def _apply(self, run: Runtime, items: list[Item]) -> None:
        begun = time.monotonic()
        if isinstance(items[0].event, Feedback):
            for item in items:
                self._apply_feedback(run, item)
        else:
            run.apply(items, self._skip)
        self.applied += len(items)
        self._pace.learn(len(items), time.monotonic() - begun)

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

    def _timers(self, run: Runtime, market: Subscription | None) -> None:
        """What is done now and then; `market` only where nothing is left in the log that it has halted before."""
        now = time.monotonic()
        if now - self._viewed_at >= _VIEW_EVERY:
            self._viewed_at = now
            self.look(run)
        if self._resend_now.is_set() or self._overdue(now):
            self._resend(run, now)
        if now - self._saved_at >= self.context.limits.checkpoint_interval:
            if market is not None:
                self._note_positions(run, market)
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

    def _note_positions(self, run: Runtime, market: Subscription) -> None:
        """Move the offsets on over what nobody here wanted. Read before looking at the queue: see LogConsumer."""
        positions = self.context.market.positions
        if not market.batches and market.whole:
            run.advance({position: offset for position, offset in positions.items() if position in self.positions})

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
        if adjustments.take(self, run):
            reload.register(self, run, market)  # a position in another code wants that code's prices

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
                on_committed=committed.set,
                on_lost=self._on_lost,
                on_failure=self._on_failure,
                on_held=self._resend_now.set,
                on_refused=self._on_refused,
            )
        )
        while wait and not committed.wait(_PAUSE):
            if self._ending == "discard" or time.monotonic() > self._deadline:
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
            if self.stopping.wait(_PAUSE):
                return

    # -- ending ------------------------------------------------------------------------------------------------------

    def _finish(self, run: Runtime, market: Subscription, feedback: Subscription) -> None:
        """Take in no more, empty the queue, wait a little for answers, save and give back in one transaction."""
        self.enter(Status.STOPPING)
        self.context.market.detach(self.portfolio_id)
        patience = 0.0
        # What a slow one does not get done in time stays in the log; there must be time left to save it.
        enough = time.monotonic() + (self._deadline - time.monotonic()) * _DRAINING
        while time.monotonic() < enough:
            if self.step(run, market, feedback):
                continue
            if run.intents:
                self.save()
            waiting = run.portfolio.unanswered()
            patience = patience or time.monotonic() + self.context.limits.answer_wait
            if not waiting or time.monotonic() >= patience:
                break
            self._wake.wait(_PAUSE)
            self._wake.clear()
        self.say_stop(run)
        self.save(wait=True)
        if self._ending == "user_stop":
            run.offsets = {t: parts for t, parts in run.offsets.items() if not _is_market(t)}
        save, _ = run.take_save()
        self._hand_over(save)

    def _give_back_as_saved(self) -> None:
        """It is to be given back and is not live, be it that Kafka is away: its checkpoint is all there is to give."""
        loaded = self._load()
        self.enter(Status.STOPPING)
        parked = checkpoints.parked(loaded, topics.MARKET_DATA.values()) if self._ending == "user_stop" else None
        self._hand_over(parked)

    def _hand_over(self, save: checkpoints.Save | None) -> None:
        read = ownership.Ownership(self.portfolio_id, self.context.node_id, self.epoch)
        reason = "stopped by its user" if self._ending == "user_stop" else f"given up by {self.context.node_id}"
        stopped = False

        def last_word() -> bool:
            nonlocal stopped
            if save is not None and checkpoints.save([save], _now()):
                return False
            stopped = lifecycle.enter(self.portfolio_id, Status.STOPPED, epoch=self.epoch, tell=False)
            return True

        if ownership.hand_over(read, self.target, reason, last_word) is None:
            raise Discarded("it has another owner")
        self.given_back = True
        log.info("Portfolio %s: saved and given back (%s)", self.portfolio_id, reason)
        if stopped:
            lifecycle.publish(self.portfolio_id, Status.STOPPED)

    def enter(self, status: Status, reason: str = "") -> None:
        """Say where it is in its lifecycle, as long as it is ours."""
        lifecycle.enter(self.portfolio_id, status, reason, epoch=self.epoch)

    def say_stop(self, run: Runtime) -> None:
        """Tell its components. One that fails at that does not keep the portfolio from being saved."""
        try:
            run.portfolio.on_stop()
        except Exception as error:
            log.exception("Portfolio %s: on_stop failed", self.portfolio_id)
            self.alert("component_error", "warning", f"has a component that fails at stopping: {error}")

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


def _is_early(item: Item, run: Runtime) -> bool:
    """Whether the price up to which the exchange had read is one that this portfolio has yet to see."""
    seen = item.event.seen  # type: ignore[union-attr]
    if not seen:
        return False
    topic, _, place = seen.partition(":")
    partition, _, offset = place.partition(":")
    if not (partition.isdecimal() and offset.isdecimal()):
        return False
    following = run.next_offset((topic, int(partition)))
    return following is not None and following <= int(offset)


def _is_market(topic: str) -> bool:
    return topic in topics.MARKET_DATA.values()


def _has_market(offsets: checkpoints.Offsets) -> bool:
    return any(_is_market(topic) for topic in offsets)


def _where(cause: Cause) -> str:
    return f"{cause.topic}:{cause.partition}:{cause.offset}"


def _now() -> datetime:
    return datetime.now(UTC)
