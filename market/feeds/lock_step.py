"""Lock step: a price leaves when the one before has had all its consequences, so that live is what a backtest is (P8).

Consequences end in the database, and that is where this looks: the exchange has shown the price to every order that
waits for it → the engine has booked what came of that → each portfolio that follows the code has decided, all that it
ever asked for is answered, and all that it was told is in its checkpoint. Then nothing moves until the next price.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from confluent_kafka import KafkaException, TopicPartition
from django.db import Error as DatabaseError
from django.db import close_old_connections

from market import bus
from market.brokers import book
from market.engine.books import OPEN
from market.feeds.base import FeedError
from market.feeds.status import Stats
from market.models import FeedbackCounter, Order
from market.models.order import OrderState
from market.topics import MARKET_DATA
from portfolios.kernel import state
from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.exchange import Resting, is_after
from portfolios.models import Checkpoint
from portfolios.models.portfolio import DesiredState, Status

log = logging.getLogger(__name__)

_SAY_AFTER = 10.0
_TIMEOUT = 10.0
_DELAYS = (0.001, 0.002, 0.003, 0.005, 0.01, 0.02)
_UNCONFIRMED = (OrderState.NEW, OrderState.SENDING)


@dataclass(frozen=True)
class Standing:
    """A portfolio as its checkpoint has it: `offsets` are the next not yet decided, `waiting` the orders and cancels
    without an answer."""

    name: str
    status: str
    pseq: int
    offsets: Mapping[str, Mapping[str, int]]
    codes: frozenset[str]
    waiting: int

    def has_decided(self, at: Cause) -> bool:
        return self.offsets.get(at.topic, {}).get(str(at.partition), 0) > at.offset


@dataclass(frozen=True)
class Look:
    """The database as of one look, the parts read in this order: what flows on meanwhile is found in a later part.

    `working` is the exchange's book, `booked` the engine's open orders (state, filled volume), `told` the number of the
    last feedback to each portfolio.
    """

    working: Mapping[str, Resting]
    booked: Mapping[str, tuple[str, int]]
    told: Mapping[str, int]
    portfolios: Mapping[str, Standing]


def unsettled(look: Look, tick: PriceUpdate | None = None, at: Cause | None = None) -> str:
    """What still moves after `tick`, which stands at `at` (None: whatever came before); "" if nothing does."""
    for order_id, (order_state, filled) in look.booked.items():
        resting = look.working.get(order_id)
        if order_state in _UNCONFIRMED or resting is None or resting.filled != filled:
            return f"order {order_id} ({order_state}) to be booked"
        if tick is not None and at is not None and tick.code == resting.code and is_after(resting, tick, at):
            return f"the exchange to show {_where(at)} to order {order_id}"
    for portfolio_id, portfolio in look.portfolios.items():
        if portfolio.status != Status.RUNNING:
            return f"portfolio {portfolio.name} to run (it is {portfolio.status})"
        if tick is not None and at is not None and tick.code in portfolio.codes and not portfolio.has_decided(at):
            return f"portfolio {portfolio.name} to decide on {_where(at)}"
        if portfolio.waiting:
            return f"answers to {portfolio.waiting} orders of portfolio {portfolio.name}"
        if portfolio.pseq < look.told.get(portfolio_id, 0):
            return f"portfolio {portfolio.name} to book its feedback {look.told[portfolio_id]}"
    return ""


def behind(look: Look, topic: str, ends: Mapping[int, int]) -> str:
    """Which portfolio has yet to read `topic` to these ends, by partition, as far as it reads it; "" if none."""
    for portfolio in look.portfolios.values():
        for partition, offset in portfolio.offsets.get(topic, {}).items():
            if offset < ends.get(int(partition), 0):
                return f"portfolio {portfolio.name} to read {topic}:{partition} from {offset} to its end"
    return ""


def look(market: str, portfolio_ids: Collection[str] = ()) -> Look:
    """The portfolios of `market` that are to run (of these, if any are named) and their orders.

    Raises django.db.Error.
    """
    rows = (
        Checkpoint.objects.filter(portfolio__market=market, portfolio__desired_state=DesiredState.RUNNING)
        .exclude(portfolio__status=Status.ERROR)
        .order_by("portfolio_id")
    )
    if portfolio_ids:
        rows = rows.filter(portfolio_id__in=portfolio_ids)
    ids = list(rows.values_list("portfolio_id", flat=True))
    open_orders = Order.objects.filter(portfolio_id__in=ids, state__in=OPEN).order_by()
    working = {each.resting.order_id: each.resting for each in book.working_of(ids)}
    booked = {id_: (at, filled) for id_, at, filled in open_orders.values_list("order_id", "state", "filled_volume")}
    told = dict(FeedbackCounter.objects.filter(portfolio_id__in=ids).values_list("portfolio_id", "pseq"))
    standing = rows.values_list(
        "portfolio_id", "portfolio__name", "portfolio__status", "pseq", "offsets", "state", "portfolio__config"
    )
    return Look(working, booked, told, {id_: _standing(*row) for id_, *row in standing})


class LockStep:
    """`check` is called while it waits, and raises if the feed cannot go on."""

    def __init__(
        self,
        market: str,
        stats: Stats,
        stop: threading.Event,
        check: Callable[[], None],
        portfolio_ids: Collection[str] = (),
    ) -> None:
        self._market = market
        self._stats = stats
        self._stop = stop
        self._check = check
        self._portfolio_ids = portfolio_ids

    def begin(self) -> bool:
        """Wait until every portfolio runs and has decided on all there is; False if `stop` came before.

        Raises FeedError if there is no portfolio that is to run.
        """
        close_old_connections()
        if not (found := look(self._market, self._portfolio_ids).portfolios):
            raise FeedError(f"lock step needs a portfolio of market {self._market} that is to run: start one first")
        if missing := sorted(set(self._portfolio_ids) - set(found)):
            raise FeedError(f"lock step: portfolio {missing[0]} is not one of market {self._market} that is to run")
        names = ", ".join(each.name for each in found.values())
        log.info("Lock step with %d portfolios: %s", len(found), names)
        topic = MARKET_DATA[self._market]
        ends = _ends(topic)

        def reason() -> str:
            now = look(self._market, self._portfolio_ids)
            return unsettled(now) or behind(now, topic, ends)

        return self._until(reason)

    def settle(self, tick: PriceUpdate, at: Cause) -> bool:
        """Wait until nothing moves any more; False if `stop` came before."""
        return self._until(lambda: unsettled(look(self._market, self._portfolio_ids), tick, at))

    def _until(self, reason: Callable[[], str]) -> bool:
        begun, said = time.monotonic(), 0.0
        for attempt in range(1_000_000_000):
            try:
                if not (why := reason()):
                    self._stats.state = "publishing"
                    return not self._stop.is_set()
            except DatabaseError as error:
                why = f"the database ({error})"
                close_old_connections()
            self._check()
            now = time.monotonic()
            if now - begun > _SAY_AFTER and now - said > _SAY_AFTER:
                said = now
                log.warning("Lock step waits for %s", why)
                self._stats.state = f"waiting for {why}"
            if self._stop.wait(_DELAYS[min(attempt, len(_DELAYS) - 1)]):
                break
        return False


def _standing(
    name: str,
    status: str,
    pseq: int,
    offsets: Mapping[str, Mapping[str, int]],
    snapshot: bytes,
    config: Mapping[str, object],
) -> Standing:
    configured = config.get("codes")
    codes = frozenset(configured) if isinstance(configured, list) else frozenset()
    if not snapshot:
        return Standing(name, status, pseq, offsets, codes, 0)
    was = state.decode(bytes(snapshot))
    waiting = sum(1 for each in was.ledger.orders.values() if not each.answered) + len(was.cancels)
    return Standing(name, status, pseq, offsets, codes | {watch.code for watch in was.watches}, waiting)


def _ends(topic: str) -> dict[int, int]:
    """The end of each of its partitions. Raises KafkaUnavailable."""
    consumer = bus.make_consumer("feed.lock_step")
    try:
        return {
            number: consumer.get_watermark_offsets(TopicPartition(topic, number), timeout=_TIMEOUT, cached=False)[1]
            for number in consumer.list_topics(topic, timeout=_TIMEOUT).topics[topic].partitions
        }
    except KafkaException as error:
        raise bus.KafkaUnavailable(f"the end of topic {topic} could not be read: {error.args[0]}") from None
    finally:
        consumer.close()


def _where(at: Cause) -> str:
    return f"{at.topic}:{at.partition}:{at.offset}"
