"""Faults put into the product on purpose, one at a time: a simulation that does not find them proves nothing.

A mutant is an edit of the product's own source, so that it goes stale loudly when that changes: what it replaces must
be there exactly once.
"""

from __future__ import annotations

import importlib
import inspect
import sys
import textwrap
from dataclasses import dataclass
from typing import Any


class Stale(Exception):
    """The source is no longer what the mutant was written for."""


@dataclass(frozen=True)
class Edit:
    """In `module`, of the function `name` (`Class.method`): `old` becomes `new`."""

    module: str
    name: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    edits: tuple[Edit, ...]

    def apply(self) -> None:
        """For the rest of this process. Raises Stale."""
        for edit in self.edits:
            _apply(edit)


def _apply(edit: Edit) -> None:
    module = importlib.import_module(edit.module)
    holder: Any = module
    *path, name = edit.name.split(".")
    for each in path:
        holder = getattr(holder, each)
    kept = inspect.getattr_static(holder, name)
    function = getattr(kept, "__func__", kept)
    # Of a function that was edited before, what it was made from.
    source = getattr(function, "mutated", None) or textwrap.dedent(inspect.getsource(function))
    if source.count(edit.old) != 1:
        raise Stale(f"{edit.module}.{edit.name} holds {source.count(edit.old)} times: {edit.old}")
    scope: dict[str, Any] = {}
    source = source.replace(edit.old, edit.new)
    exec(compile(source, f"<mutant of {edit.name}>", "exec"), module.__dict__, scope)
    scope[name].mutated = source
    setattr(holder, name, scope[name])
    if holder is module:  # others have imported it by its name
        for other in list(sys.modules.values()):
            if getattr(other, name, None) is function:
                setattr(other, name, scope[name])


def _one(name: str, module: str, function: str, old: str, new: str) -> Mutant:
    return Mutant(name, (Edit(module, function, old, new),))


MUTANTS: tuple[Mutant, ...] = (
    # -- write before speak ----------------------------------------------------------------------------------------
    _one(
        "send before checkpoint",
        "nodes.checkpointer",
        "Checkpointer._save",
        "    begun = time.monotonic()\n",
        "    begun = time.monotonic()\n"
        "    for r in requests:\n"
        "        self._sender.send(r.intents, r.save.epoch, r.on_failure, term)\n",
    ),
    _one(
        "send though the checkpoint was lost",
        "nodes.checkpointer",
        "Checkpointer._save",
        "            request.on_lost()\n            continue\n",
        "            request.on_lost()\n",
    ),
    _one(
        "send though the checkpoint failed",
        "nodes.checkpointer",
        "Checkpointer._save",
        "        connection.close()\n        return error\n",
        "        connection.close()\n"
        "        for r in requests:\n"
        "            self._sender.send(r.intents, r.save.epoch, r.on_failure, term)\n"
        "        return error\n",
    ),
    _one(
        "ledger rows of a merged checkpoint forgotten",
        "nodes.checkpointer",
        "merge",
        "ledger=older.save.ledger + newer.save.ledger",
        "ledger=newer.save.ledger",
    ),
    _one(
        "an order's checkpoint is written before an older one that is due",
        "nodes.checkpointer",
        "Checkpointer._write_at_once",
        "if self._due or self.stopping",
        "if self.stopping",
    ),
    _one(
        "a discarded checkpoint is written all the same",
        "nodes.checkpointer",
        "Checkpointer.forget",
        "        self._due.pop(portfolio_id, None)\n",
        "",
    ),
    _one(
        "offsets saved apart from the state",
        "nodes.runtime",
        "Runtime.take_save",
        "        offsets={topic: dict(parts) for topic, parts in self.offsets.items() if parts},\n",
        "        offsets=self.__dict__.setdefault('_late', {t: dict(p) for t, p in self.offsets.items()}),\n",
    ),
    _one(
        "offsets ahead of the state",
        "nodes.processor",
        "Processor._note_positions",
        "if market.whole and not market.batches:",
        "if True:",
    ),
    # -- the epoch -------------------------------------------------------------------------------------------------
    _one(
        "checkpoint without the epoch condition",
        "portfolios.checkpoints",
        "_update",
        'where = " OR ".join(["(portfolio_id = %s AND epoch = %s)"] * len(saves))\n'
        "    for s in saves:\n"
        "        parameters.extend((s.portfolio_id, s.epoch))\n",
        'where = " OR ".join(["(portfolio_id = %s)"] * len(saves))\n'
        "    for s in saves:\n"
        "        parameters.append(s.portfolio_id)\n",
    ),
    _one(
        "hand-over without comparing",
        "portfolios.ownership",
        "hand_over",
        "portfolio_id=read.portfolio_id, node_id=read.node_id, epoch=read.epoch\n",
        "portfolio_id=read.portfolio_id\n",
    ),
    _one(
        "epoch not raised on a hand-over",
        "portfolios.ownership",
        "hand_over",
        'epoch=F("epoch") + 1, ',
        "",
    ),
    _one(
        "epoch not raised in the checkpoint",
        "portfolios.ownership",
        "hand_over",
        "        Checkpoint.objects.filter(portfolio_id=read.portfolio_id).update(epoch=read.epoch + 1)\n",
        "",
    ),
    _one(
        "a restarted node keeps its epochs",
        "nodes.node",
        "Node._take_new_epochs",
        "for owned in ownership.owned_by(self.node_id):",
        "for owned in ():",
    ),
    _one(
        "engine without the epoch check",
        "market.engine.intake",
        "Intake._decide",
        "if message.epoch != profile.epoch and not _taken_before(message, known):",
        "if False:",
    ),
    _one(
        "engine lets older epochs pass by one",
        "market.engine.intake",
        "Intake._decide",
        "if message.epoch != profile.epoch and not _taken_before(message, known):",
        "if message.epoch < profile.epoch - 1 and not _taken_before(message, known):",
    ),
    _one(
        "engine reads epochs before it has the lock",
        "market.engine.intake",
        "Intake.take",
        "        # The locks first: an epoch read before waiting for one could be stale when it is had.\n"
        "        answers = Answers(message.portfolio_id for message in sound)\n"
        "        profiles = self._books.profiles(answers.portfolio_ids)\n",
        "        profiles = self._books.profiles({message.portfolio_id for message in sound})\n"
        "        answers = Answers(message.portfolio_id for message in sound)\n",
    ),
    # -- joining and reading on --------------------------------------------------------------------------------------
    _one(
        "join point off by one: a price missed",
        "nodes.joiner",
        "plan",
        "gaps[position] = Gap(start, join)",
        "gaps[position] = Gap(start, join - 1)",
    ),
    _one(
        "join point off by one: a price beyond it",
        "nodes.joiner",
        "plan",
        "gaps[position] = Gap(start, join)",
        "gaps[position] = Gap(start + 1, join)",
    ),
    _one(
        "reading on begins at the live end",
        "nodes.joining",
        "join",
        "{p: run.next_offset(p) for p in positions}",
        "{p: None for p in positions}",
    ),
    _one(
        "a full queue drops what it cannot hold",
        "nodes.consumer",
        "LogConsumer._queue",
        "self._halt(subscription, items[decision.take :])",
        "pass",
    ),
    _one(
        "a halt forgets where it was",
        "nodes.consumer",
        "LogConsumer._halt",
        "halted.setdefault((item.cause.topic, item.cause.partition), item.cause.offset)",
        "halted[item.cause.topic, item.cause.partition] = item.cause.offset",
    ),
    # -- around Kafka ----------------------------------------------------------------------------------------------
    _one(
        "door without the epoch check",
        "market.engine.intake",
        "Intake.take",
        "profiles = self._books.profiles(answers.portfolio_ids)\n",
        "profiles = self._books.profiles(answers.portfolio_ids)\n"
        "        for each in sound if straight else ():\n"
        "            profiles[each.portfolio_id] = replace(profiles[each.portfolio_id], epoch=each.epoch)\n",
    ),
    _one(
        "what came straight is not owed to the log",
        "market.engine.intake",
        "Intake.take",
        "if straight:\n",
        "if False:\n",
    ),
    # -- orders and answers ----------------------------------------------------------------------------------------
    Mutant(
        "nothing is sent again after a restart",
        (
            Edit(
                "nodes.processor",
                "Processor._send_again",
                "if intents and self.context.sender.send(intents, self.epoch, self._on_failure, term, straight):",
                "if False:",
            ),
            Edit(
                "nodes.processor",
                "Processor._send_again",
                "self._sent_at = {_id(intent): now for intent in intents}",
                "self._sent_at = {}",
            ),
        ),
    ),
    _one(
        "nothing is ever sent again",
        "nodes.processor",
        "Processor._resend",
        "run.intents[:0] = again",
        "pass",
    ),
    Mutant(
        "a gap in pseq is ignored",
        (
            Edit(
                "nodes.processor",
                "Processor._apply_feedback",
                "if event.pseq > run.portfolio.pseq + 1:",
                "if False:",
            ),
            Edit(
                "portfolios.kernel.portfolio",
                "Portfolio._on_feedback",
                "if feedback.pseq != self.pseq + 1:",
                "if False:",
            ),
        ),
    ),
    _one(
        "a repeated answer is booked again",
        "portfolios.kernel.portfolio",
        "Portfolio._on_feedback",
        "if feedback.pseq <= self.pseq:",
        "if False:",
    ),
    _one(
        "an acknowledgement is taken for a fill",
        "portfolios.kernel.portfolio",
        "Portfolio._on_feedback",
        'if feedback.event_type in ("order_filled", "order_rejected", "order_cancelled"):',
        'if feedback.event_type in ("order_ack", "order_filled", "order_rejected", "order_cancelled"):',
    ),
    # -- the engine ------------------------------------------------------------------------------------------------
    _one(
        "engine without the duplicate check",
        "market.engine.intake",
        "Intake.take",
        "known = self._read(sound, profiles, now)\n",
        "known = self._read(sound, profiles, now)\n        known.orders.clear()\n",
    ),
    Mutant(
        "engine without the duplicate check, nor a unique id",
        (
            Edit(
                "market.engine.intake",
                "Intake.take",
                "known = self._read(sound, profiles, now)\n",
                "known = self._read(sound, profiles, now)\n        known.orders.clear()\n",
            ),
            Edit(
                "market.engine.intake",
                "Intake._write",
                "Order.objects.bulk_create(known.new_orders)",
                "Order.objects.bulk_create(known.new_orders, ignore_conflicts=True)",
            ),
        ),
    ),
    _one(
        "engine forgets the tombstone",
        "market.engine.intake",
        "Intake._new",
        "tombstone = known.tombstones.get(order.order_id)",
        "tombstone = None",
    ),
    _one(
        "engine leaves no tombstone",
        "market.engine.intake",
        "_cancel",
        "        known.new_cancels.append(request)\n",
        "        if order is not None:\n            known.new_cancels.append(request)\n",
    ),
    Mutant(
        "in doubt, it sends again without asking",
        (
            Edit(
                "market.engine.desk",
                "Desk.resolve",
                "never_heard = [order for order in orders if order.order_id not in known]",
                "never_heard = [order for order in orders if order.state in _UNCONFIRMED]",
            ),
            Edit("market.engine.desk", "Desk._send_or_end", "answer = self._ask(part)", "answer = Answer()"),
        ),
    ),
    _one(
        "in doubt, it does not ask",
        "market.engine.desk",
        "Desk.resolve",
        "            settled = self._send_or_end(unsent)\n",
        "            pass\n",
    ),
    Mutant(
        "a broker's silence is no doubt",
        (
            Edit(
                "market.engine.desk",
                "Desk.receive",
                "len(tickets) + len(cancels), error)\n            self.in_doubt.set()\n",
                "len(tickets) + len(cancels), error)\n",
            ),
            Edit(
                "market.engine.desk",
                "Desk.receive",
                "self.in_doubt.set()  # taken in before, by a transaction whose end was not seen",
                "pass",
            ),
        ),
    ),
    _one(
        "a fill is booked as often as it is reported",
        "market.engine.recording",
        "record",
        "if execution.fill_id not in booked[order_id]:",
        "if True:",
    ),
    _one(
        "feedback is marked before it is published",
        "market.outbox",
        "Outbox.publish",
        "    confirmed: set[int] = set()\n",
        "    confirmed: set[int] = set()\n"
        "    with writing():\n"
        "        OutboxMessage.objects.filter(id__in=[row[0] for row in rows]).update(published=True)\n",
    ),
    _one(
        "feedback is published in no order",
        "market.outbox",
        "Outbox.publish",
        "settled = list(_in_order(rows, confirmed))",
        "settled = [row[0] for row in rows]",
    ),
    _one(
        "answers numbered without the lock",
        "market.engine.feedback",
        "Answers._lock",
        "FeedbackCounter.objects.select_for_update()",
        "FeedbackCounter.objects",
    ),
    # -- deposits ----------------------------------------------------------------------------------------------------
    _one(
        "a deposit is not marked with the checkpoint that has it",
        "portfolios.checkpoints",
        "save",
        "if adjusted:",
        "if False:",
    ),
    _one(
        "a deposit is booked as often as it is seen",
        "nodes.adjustments",
        "take",
        "if asked.pk not in run.adjusted",
        "if True",
    ),
)
