"""Kafka's door to the scheduler: what other producers ask of portfolios and nodes on the control topics (SPEC N11).

What changes what is wanted (start, stop, migrate, drain, enable) is the scheduler's, whichever node has the portfolio,
or none. What a node does itself (reload, shutdown …) is written down here and executed there; if no node does, it
expires. The engine's commands are the engine's.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from market import topics
from market.control import ControlConsumer
from market.dispatcher import EXPIRES, Dispatcher, Handler, Order, Refused, insist, order_of
from market.messages import ControlCommand, decode_command, decode_schedule
from market.poison import UNDECODABLE, PoisonCounter
from portfolios import services
from portfolios.command_log import WANTED
from portfolios.errors import PortfolioError
from scheduler import commands, operations, wires

log = logging.getLogger(__name__)

NODES_OWN = frozenset(
    {
        *(commands.PORTFOLIO_RELOAD, commands.PORTFOLIO_ADJUST, commands.NODE_SHUTDOWN),
        *(commands.MIGRATE_OUT, commands.MIGRATE_IN),
    }
)
ENGINES_OWN = frozenset({"engine.start", "engine.stop"})


def handlers() -> dict[str, Handler]:
    """What the scheduler does when asked; each is a call of the functions that API and commands call."""
    return {
        "portfolio.start": _wish(
            lambda o: services.start(o.target_id, bool(o.params.get("confirmed")), o.issued_by, o.command_id)
        ),
        "portfolio.stop": _wish(lambda o: services.stop(o.target_id, o.issued_by, o.command_id)),
        "portfolio.migrate": _operate(
            lambda o: operations.migrate(
                o.target_id, _text(o, "target_node", "target"), _text(o, "source_node", "source"), o.issued_by
            )
        ),
        "node.drain": _operate(lambda o: operations.drain(o.target_id, o.issued_by)),
        "node.enable": _operate(lambda o: operations.enable(o.target_id, o.issued_by, o.command_id)),
    }


class CommandDoor:
    """`run` is its thread. It begins as far back as a command lives: what came while no scheduler ran is executed."""

    def __init__(self) -> None:
        self._dispatcher = Dispatcher("", handlers())

    def run(self, stop: threading.Event) -> None:
        consumer = ControlConsumer(
            (topics.CONTROL_COMMANDS, topics.SCHEDULE_UPDATES), "scheduler.commands", stop=stop, back=EXPIRES
        )
        poison: PoisonCounter | None = None
        for topic, partition, offset, _key, value in consumer:
            try:
                message = decode_command(value) if topic == topics.CONTROL_COMMANDS else decode_schedule(value)
            except UNDECODABLE as error:
                poison = poison or PoisonCounter(wires.alerter())
                poison.skip(topic, partition, offset, error)
                continue
            if isinstance(message, ControlCommand):
                insist(self._take, order_of(message), stop)

    def take(self, command: ControlCommand) -> str:
        """Execute it, leave it to whom it concerns, or reject it; what it came to. Raises django.db.Error."""
        return self._take(order_of(command))

    def _take(self, order: Order) -> str:
        if order.command_type in ENGINES_OWN:
            return "the engine's"
        if order.command_type in NODES_OWN:
            self._dispatcher.note(order)
            return "a node's"
        return self._dispatcher.attempt(order)


def _wish(act: Callable[[Order], object]) -> Handler:
    def handle(order: Order) -> str:
        try:
            act(order)
        except PortfolioError as error:
            raise Refused(str(error)) from None
        return WANTED

    return handle


def _operate(act: Callable[[Order], operations.Answer]) -> Handler:
    def handle(order: Order) -> str:
        answer = act(order)
        if not answer.accepted:
            raise Refused(answer.reason)
        return "accepted"

    return handle


def _text(order: Order, *names: str) -> str:
    return next((str(order.params[name]) for name in names if order.params.get(name)), "")
