"""How a portfolio joins the live stream: what its queue holds from a point on, and from the log what lies before (N7).

Its own thread does it, at a start, when a full queue has halted, and when a new configuration wants other codes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from market import topics
from market.bus import KafkaUnavailable
from market.messages import Feedback
from nodes import warmup
from nodes.consumer import LogConsumer
from nodes.ending import Interrupted
from nodes.joiner import JoinPlan, Reader, plan
from nodes.runtime import Runtime
from nodes.subscription import Item, Position, Subscription

if TYPE_CHECKING:
    from nodes.processor import Processor

NO_CODES: frozenset[str] = frozenset()


_ANSWER_WITHIN = 5.0
"""Seconds in which Kafka is to say where partitions end, while a portfolio that runs stands still for it."""


class Partitions(NamedTuple):
    """Those that a portfolio's codes live in: where each ended a moment ago, and the ids of their topics."""

    ends: dict[Position, int]
    ids: dict[str, str]


def join(
    processor: Processor,
    run: Runtime,
    consumer: LogConsumer,
    subscription: Subscription,
    positions: set[Position],
    cold: frozenset[str] = NO_CODES,
    quiet: bool = False,
) -> None:
    """Register, then read what lies between the checkpoint's offsets and the point of registration."""
    wanted = {p: run.next_offset(p) for p in positions}
    catch_up(processor, run, consumer, subscription, positions, wanted, cold, quiet)


def look_up(processor: Processor, run: Runtime) -> Partitions:
    """The partitions of the codes it wants now. Nothing is changed.

    Raises KafkaException or KafkaUnavailable where Kafka does not say, be it of one of them only.
    """
    context = processor.context
    positions = context.market_positions(run.portfolio.codes)
    ids = context.catalogue.ids({topic for topic, _ in positions})
    with context.readers.lend() as client:
        reader = Reader(client, context.market.decode, context.market.poison)
        watermarks = reader.watermarks(positions, _ANSWER_WITHIN)
    return Partitions({position: end for position, (_, end) in watermarks.items()}, ids)


def change_codes(
    processor: Processor,
    run: Runtime,
    market: Subscription,
    partitions: Partitions,
    cold: frozenset[str],
    timeout: float,
) -> None:
    """Hear of the codes it wants now, whose `partitions` were just looked up; it is to see the past of `cold` ones.

    Nothing is applied: the queue, and what a full one has left in the log, are read as ever. From here on a checkpoint
    has the partitions of these codes and no others. Raises KafkaUnavailable after `timeout` seconds.
    """
    context = processor.context
    # Of a partition that is read already, the present of a new code begins where that of the others goes on: should
    # this life end before it has applied what is queued, a successor reads on from there, for all of the codes.
    shared = {
        position: offset
        for position in context.market_positions(cold) & partitions.ends.keys()
        if (offset := run.next_offset(position)) is not None
    }
    changed = context.market.change(market, run.keys, partitions.ends, timeout, shared)
    if changed is None:
        raise KafkaUnavailable(f"{context.market.name} did not answer in time")
    starts = {**changed.joins, **changed.halted}
    warm_up(processor, run, cold, starts, partitions.ids)
    keep_only(run, set(partitions.ends))
    # Where nothing was queued or left in the log all is decided up to the join point.
    run.advance({position: starts[position] for position in shared})
    _begin(run, changed.joins, partitions.ids)


def keep_only(run: Runtime, positions: set[Position]) -> None:
    """Of the market's partitions, forget all others: should one be wanted again, it begins at its join point, in
    whatever topic has the name then.
    """
    others = {(t, p) for t, parts in run.offsets.items() for p in parts if t not in topics.MARKET_DATA.values()}
    run.forget_offsets(others | positions)


def catch_up(
    processor: Processor,
    run: Runtime,
    consumer: LogConsumer,
    subscription: Subscription,
    positions: set[Position],
    wanted: dict[Position, int | None] | None,
    cold: frozenset[str] = NO_CODES,
    quiet: bool = False,
) -> None:
    """Register with the live stream, and apply in its order what lies before the join points: what was queued,
    then, from the log, what follows `wanted`, or else what follows the points at which a full queue had to halt.
    The past of `cold` codes, before all that, comes from history. `quiet`: it is not saved meanwhile.
    Raises Interrupted when it is to stop before it has all: the queue then holds what must not be applied.
    """
    context = processor.context
    with context.readers.lend() as client:
        reader = Reader(client, consumer.decode, consumer.poison)
        watermarks = reader.watermarks(positions)
        ends = {position: end for position, (_, end) in watermarks.items()}
        attached = consumer.attach(subscription, ends, context.limits.start_timeout)
        if attached is None:
            raise KafkaUnavailable(f"{consumer.name} did not answer in time")
        ids = context.catalogue.ids({topic for topic, _ in positions})
        recreated = frozenset(t for t, known in run.topic_ids.items() if ids.get(t, known) != known)
        if wanted is None:
            lost = {p: run.next_offset(p) for p in positions if p[0] in recreated}
            wanted = {**lost, **attached.halted}
        planned = plan(wanted, attached.joins, watermarks, recreated)
        if cold:
            starts = {p: planned.gaps[p].start if p in planned.gaps else at for p, at in attached.joins.items()}
            warm_up(processor, run, cold, starts, ids)
        _begin(run, attached.joins, ids)
        for items in attached.before:
            subscription.took(len(items))
            _catch_up_with(processor, run, items, quiet)
        # Only now, together: a checkpoint that knew the new topic and not the loss would hide it.
        run.topic_ids.update(ids)
        _account_for_losses(processor, run, planned, attached.joins)
        for items in reader.read(planned.gaps, subscription.keys, processor.stopping):
            _catch_up_with(processor, run, items, quiet)
        if processor.stopping.is_set():
            raise Interrupted
        held = processor.holding.following if consumer is context.feedback else {}
        run.advance({**attached.joins, **held})


def warm_up(
    processor: Processor, run: Runtime, cold: frozenset[str], starts: dict[Position, int], ids: dict[str, str]
) -> None:
    """Let it see the past of `cold` codes, up to `starts`."""
    context = processor.context
    warmup.warm_up(run, context.history, cold, starts, ids, lambda code: context.market_positions([code]))


def _begin(run: Runtime, joins: dict[Position, int], ids: dict[str, str]) -> None:
    """A partition that was never read begins at its join point, in the next checkpoint already: nothing before that
    is wanted, and whoever takes over meanwhile reads on from there.
    """
    run.advance({position: join for position, join in joins.items() if run.next_offset(position) is None})
    for topic, known in ids.items():
        run.topic_ids.setdefault(topic, known)


def _catch_up_with(processor: Processor, run: Runtime, items: list[Item], quiet: bool) -> None:
    """Apply them, looking up from the work often enough to stop, to save and to be seen."""
    holding = processor.holding
    while items:
        piece, items = items[: processor.pace.size], items[processor.pace.size :]
        processor.wait_until_allowed()
        if processor.stopping.is_set():
            raise Interrupted
        held = len(holding)
        if isinstance(piece[0].event, Feedback):
            piece = holding.sift(run, piece)
        if piece:
            processor.apply(run, piece)
        if holding and (told := holding.sift(run, [])):
            processor.apply(run, told)
        processor.took_feedback(held - len(holding))  # what is held back counts as queued
        if run.intents:
            processor.save()
        if not quiet:
            processor.timers(run, None)


def _account_for_losses(processor: Processor, run: Runtime, planned: JoinPlan, joins: dict[Position, int]) -> None:
    """What the log can no longer tell is said loudly; the ids of what follows are those of a new life."""
    if not planned.losses:
        return
    run.portfolio.incarnation += 1
    run.rewind({p: planned.gaps[p].start if p in planned.gaps else joins[p] for p in planned.losses})
    what = "; ".join(f"{topic}:{partition}: {why}" for (topic, partition), why in sorted(planned.losses.items()))
    processor.alert(
        "data_gap", "critical", f"has lost part of its log, incarnation {run.portfolio.incarnation}: {what}"
    )
