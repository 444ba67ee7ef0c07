"""`ginkgo …` that kills or freezes itself at a step: `python -m ginkgo_site.drill.stepped STEP SIGNAL WORDS…`.

The steps are those around a checkpoint and the orders in it. The product's own functions are called before and after,
and know nothing of it: they are replaced in this process alone. Nothing is done until the file `DRILL_STEP` is there;
whoever reaches the step first then takes it away, and gets the signal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import Any

FILE = "DRILL_STEP"
"""In the environment: the path of the file."""


class Step(StrEnum):
    """Where an order is on its way from the portfolio to the log."""

    DECIDED = "decided"  # in memory; its checkpoint is not begun
    WRITTEN = "written"  # its checkpoint's rows are, but not committed: a checkpoint with fills, which has a BEGIN
    COMMITTED = "committed"  # nothing of it is sent, and the lease is yet to be asked
    SENDING = "sending"  # the lease was asked; Kafka's client does not have it yet
    QUEUED = "queued"  # Kafka's client has it; Kafka may have it or not
    DELIVERED = "delivered"  # Kafka has it, the node has not been told
    TOLD = "told"  # the node has been told


WHERE = {
    Step.DECIDED: "before the checkpoint",
    Step.WRITTEN: "within the checkpoint's transaction",
    Step.COMMITTED: "after its commit, before the send",
    Step.SENDING: "between the look at the lease and the send",
    Step.QUEUED: "after the send, before the delivery report",
    Step.DELIVERED: "at the delivery report, before it is heard",
    Step.TOLD: "after the delivery report",
}


class Producer:
    """In the place of a sender's own: says which steps each order passes."""

    def __init__(self, own: Any, reached: Callable[[Step], None]) -> None:
        self._own = own
        self._reached = reached

    def produce(self, topic: str, *, on_delivery: Callable[..., None], **message: Any) -> None:
        def delivered(*report: Any) -> None:
            self._reached(Step.DELIVERED)
            on_delivery(*report)
            self._reached(Step.TOLD)

        self._reached(Step.SENDING)
        self._own.produce(topic, on_delivery=delivered, **message)
        self._reached(Step.QUEUED)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._own, name)


def install(reached: Callable[[Step], None], replace: Callable[[Any, str, Any], None] = setattr) -> None:
    """From now on this process calls `reached` at each step. `replace` puts something in an attribute's place."""
    from django.db import connection

    from nodes.checkpointer import Checkpointer
    from nodes.sender import Sender
    from portfolios import checkpoints

    save, update, begin, send = Checkpointer._save, checkpoints._update, Sender.__init__, Sender.send

    def saving(self: Checkpointer, requests: Any) -> Any:
        if any(each.intents for each in requests):
            reached(Step.DECIDED)
        return save(self, requests)

    def updating(*arguments: Any) -> Any:
        lost = update(*arguments)
        if connection.in_atomic_block:
            reached(Step.WRITTEN)
        return lost

    def beginning(self: Sender, producer: Any, *others: Any, **named: Any) -> None:
        begin(self, Producer(producer, reached), *others, **named)

    def sending(self: Sender, intents: Any, *others: Any, **named: Any) -> Any:
        reached(Step.COMMITTED)
        return send(self, intents, *others, **named)

    replace(Checkpointer, "_save", saving)
    replace(checkpoints, "_update", updating)
    replace(Sender, "__init__", beginning)
    replace(Sender, "send", sending)


def through(step: Step, number: signal.Signals) -> tuple[str, ...]:
    """The module and its first words, for `World.start`."""
    return "ginkgo_site.drill.stepped", step.value, str(number.value)


def take(file: Path, number: int) -> None:
    """Get the signal, if the file is there and nobody else has taken it."""
    try:
        file.unlink()
    except FileNotFoundError:
        return
    # Of this very thread: by the time the call returns it has had its effect, and not an instruction more is done.
    signal.pthread_kill(threading.get_ident(), number)


def main() -> None:
    wanted, number = Step(sys.argv[1]), int(sys.argv[2])
    sys.argv[1:] = sys.argv[3:]
    file = Path(os.environ[FILE])
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")

    import django

    django.setup()

    def reached(step: Step) -> None:
        if step is wanted:
            take(file, number)

    install(reached)

    from ginkgo_site import cli

    cli.main()


if __name__ == "__main__":
    main()
