"""A portfolio as a node runs it: the kernel's state machine, how far it has read, and what it has yet to save.

No thread, no Kafka: the processor drives it. Whatever it decides is only in memory until `take_save` hands it over.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from decimal import Decimal
from typing import TypeAlias

from msgspec import UNSET

from market.messages import Feedback
from nodes.subscription import Item, Position
from portfolios.checkpoints import Loaded, Offsets, Save
from portfolios.kernel.config import ConfigErrors, parse
from portfolios.kernel.events import Event
from portfolios.kernel.money import to_decimal, to_units
from portfolios.kernel.orders import Intent
from portfolios.kernel.portfolio import FeedbackGap, Portfolio
from portfolios.kernel.rules.base import MarketRules
from portfolios.models import LedgerEntry

log = logging.getLogger(__name__)

_CENT4 = Decimal("0.0001")

Key: TypeAlias = tuple[str, int, int]
"""By what an event is recognised when it comes again."""


def key_of(item: Item) -> Key:
    """A tick is its place in the log; feedback is its number, for it comes by Kafka, repeated, and from the outbox."""
    event = item.event
    return ("feedback", 0, event.pseq) if isinstance(event, Feedback) else (*item.cause,)


class Unloadable(Exception):
    """The portfolio cannot be made from its configuration; the message says why."""


class Poisoned(Exception):
    """`apply` raised on this item: nothing of it may be kept."""

    def __init__(self, item: Item, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.item = item
        self.error = error


class Runtime:
    """One portfolio at one epoch. Made by `restore`."""

    def __init__(self, portfolio: Portfolio, loaded: Loaded, config_version: int, rules: MarketRules) -> None:
        self.portfolio = portfolio
        self.rules = rules
        self.portfolio_id = loaded.portfolio_id
        self.epoch = loaded.epoch
        self.config_version = config_version
        self.offsets: Offsets = {topic: dict(parts) for topic, parts in loaded.offsets.items()}
        self.topic_ids = dict(loaded.topic_ids)
        self.intents: list[Intent] = []
        self.ledger: list[LedgerEntry] = []
        self.adjusted: set[int] = set()
        """Adjustments that this life has dealt with."""
        self.applied = 0
        self.dirty = False

    @property
    def keys(self) -> frozenset[bytes]:
        """The keys of the market messages it wants, as they come from Kafka."""
        return frozenset(code.encode() for code in self.portfolio.codes)

    def reconfigure(self, loaded: Loaded) -> None:
        """Take over a newer configuration, state and all. Raises Unloadable and changes nothing if it is not valid."""
        with _loading(f"version {loaded.version}"):
            self.portfolio = self.portfolio.reconfigured(parse(loaded.config, loaded.market))
        self.config_version = loaded.version
        self.dirty = True

    def next_offset(self, position: Position) -> int | None:
        """The next offset not yet decided, None if this partition was never read."""
        return self.offsets.get(position[0], {}).get(position[1])

    def advance(self, positions: dict[Position, int]) -> None:
        """Everything below these offsets is decided."""
        for (topic, partition), offset in positions.items():
            parts = self.offsets.setdefault(topic, {})
            if offset > parts.get(partition, -1):
                parts[partition] = offset
                self.dirty = True

    def rewind(self, positions: dict[Position, int]) -> None:
        """Read on from here, even if that is further back: the log has begun anew."""
        for (topic, partition), offset in positions.items():
            self.offsets.setdefault(topic, {})[partition] = offset
            self.dirty = True

    def forget_offsets(self, keep: Iterable[Position]) -> None:
        """Drop the offsets of partitions that are not in `keep`, and with the last of a topic its id."""
        kept = set(keep)
        self.offsets = {
            topic: {p: o for p, o in parts.items() if (topic, p) in kept} for topic, parts in self.offsets.items()
        }
        self.topic_ids = {topic: known for topic, known in self.topic_ids.items() if self.offsets.get(topic)}

    def apply(self, items: list[Item], skip: frozenset[Key] = frozenset()) -> None:
        """Apply a batch of ticks or feedback in order; raises Poisoned, or the kernel's FeedbackGap, in its middle.

        What lies below the next offset of its partition is decided already, and ignored.
        """
        apply = self.portfolio.apply
        following: dict[Position, int] = {}
        # Kafka hands over long runs of one partition: what is asked of each is asked once a run.
        run: Position = ("", -1)
        run_topic, run_partition, floor, applied = "", -1, 0, 0
        for item in items:
            event, cause = item
            topic, partition, offset = cause
            if partition != run_partition or topic != run_topic:
                following[run] = floor
                run = run_topic, run_partition = topic, partition
                floor = following.get(run) or self.next_offset(run) or 0
            if offset < floor:
                continue
            floor = offset + 1
            if skip and key_of(item) in skip:
                self._pass_over(event)
                continue
            try:
                row = self._ledger_row(event) if event.__class__ is Feedback else None  # type: ignore[arg-type]
                cash = self.portfolio.cash if row is not None else 0
                intents = apply(event, cause)
            except FeedbackGap:
                raise
            except Exception as error:
                raise Poisoned(item, error) from error
            if intents:
                self.intents.extend(intents)
            if row is not None:
                # What it did to the cash, not what it cost: of futures only profit and fees are paid.
                row.cash_change = to_decimal(self.portfolio.cash - cash)
                self.ledger.append(row)
            applied += 1
        self.applied += applied
        following[run] = floor
        following.pop(("", -1))
        self.advance(following)

    def _pass_over(self, event: Event) -> None:
        """Nothing of it is kept but its number: what follows must not wait for it for ever."""
        if isinstance(event, Feedback) and event.pseq == self.portfolio.pseq + 1:
            self.portfolio.pseq = event.pseq

    def _ledger_row(self, feedback: Feedback) -> LedgerEntry | None:
        """The row of a fill that is about to be applied, for the checkpoint that will contain it.

        What it does to the cash is known when it is applied.
        """
        if feedback.fill_id is UNSET or feedback.pseq <= self.portfolio.pseq:
            return None
        assert isinstance(feedback.direction, int)
        return LedgerEntry(
            portfolio_id=self.portfolio_id,
            pseq=feedback.pseq,
            order_id=feedback.order_id,
            code=str(feedback.code),
            direction=feedback.direction,
            volume=int(feedback.filled_volume),  # type: ignore[arg-type]
            price=_exact(feedback.filled_price),
            fees=_exact(feedback.commission) + _exact(feedback.tax),
            cash_change=_exact(feedback.filled_amount),  # one that no column holds raises here
            event_time=feedback.timestamp,
        )

    def take_save(self) -> tuple[Save, tuple[Intent, ...]]:
        """The checkpoint as of now and what may be sent once it is committed; both are then no longer pending."""
        intents, self.intents = tuple(self.intents), []
        ledger, self.ledger = tuple(self.ledger), []
        self.dirty = False
        save = Save(
            portfolio_id=self.portfolio_id,
            epoch=self.epoch,
            state=self.portfolio.snapshot(),
            pseq=self.portfolio.pseq,
            offsets={topic: dict(parts) for topic, parts in self.offsets.items() if parts},
            topic_ids=dict(self.topic_ids),
            config_version=self.config_version,
            incarnation=self.portfolio.incarnation,
            ledger=ledger,
        )
        return save, intents


def restore(loaded: Loaded, rules: MarketRules) -> tuple[Runtime, str]:
    """The portfolio as its last owner left it, under its newest configuration; and why it is not that one, if so.

    A configuration that cannot be loaded leaves the checkpoint's own in force (SPEC N5). Raises Unloadable when there
    is nothing to fall back to.
    """
    if not loaded.state:
        with _loading("its configuration is not valid"):
            config = parse(loaded.config, loaded.market)
            portfolio = Portfolio(loaded.portfolio_id, config, rules, to_units(loaded.initial_cash))
        portfolio.incarnation = loaded.incarnation
        return Runtime(portfolio, loaded, loaded.version, rules), ""
    try:
        with _loading(f"version {loaded.version}"):
            config = parse(loaded.config, loaded.market)
            portfolio = Portfolio.restore(loaded.state, loaded.portfolio_id, config, rules)
        return Runtime(portfolio, loaded, loaded.version, rules), ""
    except Unloadable as refusal:
        if loaded.checkpoint_config is None:
            raise
        refused = str(refusal)
    with _loading(f"{refused}; and of its checkpoint, version {loaded.checkpoint_version}"):
        config = parse(loaded.checkpoint_config, loaded.market)
        portfolio = Portfolio.restore(loaded.state, loaded.portfolio_id, config, rules)
    return Runtime(portfolio, loaded, loaded.checkpoint_version, rules), refused


@contextmanager
def _loading(what: str) -> Iterator[None]:
    """Whatever goes wrong in making a portfolio makes it Unloadable: a component is anybody's code."""
    try:
        yield
    except ConfigErrors as error:
        raise Unloadable(f"{what}: {error}") from None
    except Exception as error:
        raise Unloadable(f"{what}: {type(error).__name__}: {error}") from error


def _exact(amount: object) -> Decimal:
    """A wire amount (a JSON number) as the decimal it was written as."""
    return Decimal(str(amount)).quantize(_CENT4) if isinstance(amount, int | float) else Decimal(0)
