"""A graceful reload: a new configuration takes over between two events, state and all (SPEC N5).

The portfolio's own thread does it, so nothing is applied meanwhile: its queue is the buffer, and what the queue cannot
hold stays in the log, to be read again, whatever the portfolio's policy. One deadline for all of it
(`node.stop_timeout`, 30 s): a queue not empty after two thirds of that is dropped, and the portfolio starts again from
its checkpoint, under the new configuration.
"""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException

from market.bus import KafkaUnavailable, reason_of
from nodes import ending, joining
from nodes.runtime import Runtime, Unloadable
from nodes.subscription import Subscription
from portfolios import checkpoints
from portfolios.models import Portfolio
from portfolios.models.portfolio import Status

if TYPE_CHECKING:
    from nodes.processor import Processor

log = logging.getLogger(__name__)

_DRAINING = 2 / 3
"""Of the time until its deadline that a reload may spend on what was queued at its beginning."""
_AGAIN = 60.0
"""Seconds after which a configuration is tried again for which Kafka could not say where its prices are."""


class DrainTimeout(Exception):
    """The queue was not empty in time: discard it and join again from the checkpoint."""


def reload(processor: Processor, run: Runtime, market: Subscription, feedback: Subscription) -> None:
    """The eight steps. A crash leaves a checkpoint of the old version behind, or from step 7 on one of the new; in each
    case the successor restores it and takes over the newest configuration.
    """
    portfolio_id, begun = processor.portfolio_id, time.monotonic()
    if not _is_newer(processor):
        return
    patience = processor.context.limits.stop_timeout
    deadline = begun + patience
    # 1. STOPPING: from here on what arrives is the buffer, of which no policy may lose any.
    processor.enter(Status.STOPPING, "reload")
    market.policy = "catch_up"
    # 2. Empty the queue of what came before.
    if not _apply_up_to(market.put, processor, run, market, feedback, begun + patience * _DRAINING):
        processor.enter(Status.STOPPED, "reload")
        processor.enter(Status.RELOADING)
        raise DrainTimeout(f"its queue was not empty after {patience * _DRAINING:.0f} s")
    if processor.stopping.is_set():
        return
    # 3. on_stop and a checkpoint. 4. STOPPED.
    ending.say_stop(processor, run)
    processor.save(wait=True)
    processor.enter(Status.STOPPED, "reload")
    # 5. Load the newest configuration; its version must be newer.
    loaded = checkpoints.load(portfolio_id)
    processor.enter(Status.RELOADING)
    refused = ""
    if loaded is not None and loaded.version > run.config_version:
        # 6. A new instance, the state carried over, and its warm-up; the old one goes on if that fails, or if one of
        # its partitions cannot be read. Registered for the codes it wants now before anything is saved: a version's
        # first checkpoint has their partitions.
        before = run.portfolio, run.config_version
        try:
            run.reconfigure(loaded)
            partitions = _look_up(processor, run, market)
        except Unloadable as error:
            refused = str(error)
            processor.refuse(loaded.version, refused)
        except (KafkaException, KafkaUnavailable) as error:
            run.portfolio, run.config_version = before
            refused = f"its prices are out of reach: {reason_of(error)}"
            processor.refuse(loaded.version, refused, _AGAIN)
        else:
            _warm_up(processor, run, market)
            _register(processor, run, market, partitions, deadline - time.monotonic())
    # 7. Replay the buffer in order, as far as it has come by now: what comes after it, or was left in the log, or is
    # not done in time, is read on as ever.
    _apply_up_to(market.put, processor, run, market, feedback, deadline)
    market.policy = run.portfolio.config.policy.backpressure
    processor.save(wait=True)
    # 8. RUNNING.
    processor.look(run)
    processor.enter(Status.RUNNING, refused)
    log.info(
        "Portfolio %s: reloaded to version %d in %.3f s", portfolio_id, run.config_version, time.monotonic() - begun
    )


def _apply_up_to(
    put: int, processor: Processor, run: Runtime, market: Subscription, feedback: Subscription, deadline: float
) -> bool:
    """Apply what was queued when so many were put, unless it is to stop; False if the deadline came before the last."""
    while market.taken < put and not processor.stopping.is_set():
        if time.monotonic() > deadline:
            return False
        processor.wait_until_allowed()
        processor.step(run, market, feedback)
        processor.timers(run, market)
    return True


def heard_of(market: Subscription) -> frozenset[str]:
    """The codes whose prices come already."""
    return frozenset(key.decode() for key in market.keys)


def _warm_up(processor: Processor, run: Runtime, market: Subscription) -> None:
    """What lies before the buffer, of the codes that are in it; those that are new have their past where they join."""
    positions = processor.positions
    starts = {position: offset for position in positions if (offset := run.next_offset(position)) is not None}
    joining.warm_up(processor, run, run.portfolio.cold & heard_of(market), starts, run.topic_ids)


def _is_newer(processor: Processor) -> bool:
    """Of many requests in a row the first takes over the newest version, and the others find nothing to do."""
    version = Portfolio.objects.filter(id=processor.portfolio_id).values_list("version", flat=True).first()
    return version is not None and version > processor.config_version


def register(processor: Processor, run: Runtime, market: Subscription, timeout: float) -> None:
    """Hear of the codes it wants now: added partitions start at the join point, removed ones are forgotten.

    Raises KafkaException or KafkaUnavailable if that is not done within `timeout` seconds.
    """
    _register(processor, run, market, _look_up(processor, run, market), timeout)


def _look_up(processor: Processor, run: Runtime, market: Subscription) -> joining.Partitions | None:
    """The partitions of the codes it wants now; None if it hears of just these. As `joining.look_up`."""
    return None if market.keys == run.keys else joining.look_up(processor, run)


def _register(
    processor: Processor, run: Runtime, market: Subscription, partitions: joining.Partitions | None, timeout: float
) -> None:
    if partitions is None:
        return
    added = run.portfolio.cold - heard_of(market)
    joining.change_codes(processor, run, market, partitions, added, timeout)
    processor.positions = set(partitions.ends)
