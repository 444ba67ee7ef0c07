"""How a portfolio's life in a node ends: it is given back with its last state, or memory is dropped (SPEC N12, S4).

Its own thread does it. Whoever gives back saves and hands over in one transaction; who has lost it sends nothing more.
"""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal, TypeAlias

from market import topics
from nodes.runtime import Runtime
from nodes.subscription import Subscription
from portfolios import checkpoints, lifecycle, ownership
from portfolios.models.portfolio import Status

if TYPE_CHECKING:
    from nodes.processor import Processor

log = logging.getLogger(__name__)

Ending: TypeAlias = Literal["", "discard", "give_back", "user_stop"]
_DRAINING = 2 / 3
"""Of the time until its deadline that a portfolio which ends may spend on its queue and on answers."""


class Discarded(Exception):
    """This portfolio is not ours (any more): memory is dropped, nothing is sent."""


class Interrupted(Exception):
    """It is to stop and is not live: what it has in memory goes no further than its last checkpoint."""


def finish(processor: Processor, run: Runtime, market: Subscription, feedback: Subscription) -> None:
    """Take in no more, empty the queue, wait a little for answers, save and give back in one transaction."""
    processor.enter(Status.STOPPING)
    processor.context.market.detach(processor.portfolio_id)
    patience = 0.0
    # What a slow one does not get done in time stays in the log; there must be time left to save it.
    enough = time.monotonic() + (processor.deadline - time.monotonic()) * _DRAINING
    while time.monotonic() < enough:
        if processor.step(run, market, feedback):
            continue
        if run.intents:
            processor.save()
        waiting = run.portfolio.unanswered()
        patience = patience or time.monotonic() + processor.context.limits.answer_wait
        if not waiting or time.monotonic() >= patience:
            break
        processor.rest()
    say_stop(processor, run)
    processor.save(wait=True)
    if processor.ending == "user_stop":
        run.offsets = {t: parts for t, parts in run.offsets.items() if t not in topics.MARKET_DATA.values()}
    save, _ = run.take_save()
    _hand_over(processor, save)


def give_back_as_saved(processor: Processor) -> None:
    """It is to be given back and is not live, be it that Kafka is away: its checkpoint is all there is to give."""
    loaded = load(processor)
    processor.enter(Status.STOPPING)
    parked = checkpoints.parked(loaded, topics.MARKET_DATA.values()) if processor.ending == "user_stop" else None
    _hand_over(processor, parked)


def load(processor: Processor) -> checkpoints.Loaded:
    """Its checkpoint and configuration. Raises Discarded if it has another owner."""
    loaded = checkpoints.load(processor.portfolio_id)
    if loaded is None or (loaded.node_id, loaded.epoch) != (processor.context.node_id, processor.epoch):
        raise Discarded("it has another owner")
    return loaded


def say_stop(processor: Processor, run: Runtime) -> None:
    """Tell its components. One that fails at that does not keep the portfolio from being saved."""
    try:
        run.portfolio.on_stop()
    except Exception as error:
        log.exception("Portfolio %s: on_stop failed", processor.portfolio_id)
        processor.alert("component_error", "warning", f"has a component that fails at stopping: {error}")


def _hand_over(processor: Processor, save: checkpoints.Save | None) -> None:
    node_id, portfolio_id = processor.context.node_id, processor.portfolio_id
    read = ownership.Ownership(portfolio_id, node_id, processor.epoch)
    reason = "stopped by its user" if processor.ending == "user_stop" else f"given up by {node_id}"
    stopped = False

    def last_word() -> bool:
        nonlocal stopped
        if save is not None and checkpoints.save([save], datetime.now(UTC)):
            return False
        stopped = lifecycle.enter(portfolio_id, Status.STOPPED, epoch=processor.epoch, tell=False)
        return True

    if ownership.hand_over(read, processor.target, reason, last_word) is None:
        raise Discarded("it has another owner")
    processor.given_back = True
    log.info("Portfolio %s: saved and given back (%s)", portfolio_id, reason)
    if stopped:
        lifecycle.publish(portfolio_id, Status.STOPPED)
