"""What must hold, judged from the log, the broker's own book and what was committed; never by asking the product.

While it runs: one process an epoch; epochs grow by one, in assignment and checkpoint together; only the owner's
checkpoints are committed; what is sent is in a committed checkpoint; no order of a stale epoch is taken in, none that
was cancelled before it came; the broker gets each order once.

When all is calm: every price was applied once, in its order; every order that was checkpointed has its answer; the
portfolio's cash and positions, its ledger, the engine's fills and the broker's executions are the same, and so are
their open orders; every answer was told, in its order; whatever the engine has taken in stands in the log.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

import msgspec

from market import topics
from market.messages import OrderCancel, OrderSubmission, decode_feedback, decode_order, id_of
from market.models import CancelRequest, FeedbackCounter, Fill, LogDebt, Order, OutboxMessage
from portfolios.kernel import state as kernel
from portfolios.kernel.money import UNIT, to_units
from portfolios.models import Assignment, Checkpoint, LedgerEntry
from tests.protocol.broker import Exchange, Held
from tests.protocol.database import Database, Pending, Row, Transaction
from tests.protocol.hub import Process, Violation, hub
from tests.protocol.kafka import Log

OPEN = ("new", "sending", "accepted", "partially_filled")
OVER = ("filled", "rejected", "cancelled")


class _OpenOrder(msgspec.Struct):
    order: _Id
    answered: bool


class _Id(msgspec.Struct):
    order_id: str


class _OpenCancel(msgspec.Struct):
    cancel: _CancelId


class _CancelId(msgspec.Struct):
    cancel_id: str
    order_id: str


class _Ledger(msgspec.Struct):
    orders: dict[str, _OpenOrder]


class _Written(msgspec.Struct):
    """Of a snapshot, what the oracle looks at each time one is committed."""

    ledger: _Ledger
    cancels: list[_OpenCancel]


_look = msgspec.json.Decoder(_Written).decode


@dataclass
class Oracle:
    db: Database
    log: Log
    exchange: Exchange
    lenient: bool = False
    """An engine was stopped longer than its session: it may hand the broker once more what another handed it."""
    one_engine: bool = True
    """So the log is read in its order."""
    asked: set[str] = field(default_factory=set)
    called_off: set[tuple[str, int]] = field(default_factory=set)
    """Orders (with an epoch) whose cancel is in the log before they are."""
    holders: dict[tuple[str, int], Process] = field(default_factory=dict)
    written: dict[str, str] = field(default_factory=dict)
    """Orders and cancels that were in a committed checkpoint → whose order it is, "" for a cancel."""
    ended_at: dict[tuple[str, int], int] = field(default_factory=dict)
    """The step at which an epoch was over."""
    started: dict[str, dict[str, int]] = field(default_factory=dict)
    skips: set[str] = field(default_factory=set)
    """Portfolios that a user stopped: their prices may have gaps."""
    deposits: dict[str, int] = field(default_factory=dict)
    """What was paid in, in the portfolio's currency."""

    def watch(self) -> None:
        self.db.committed = self.committed
        self.log.heard = self.logged
        self.exchange.heard = self.received

    # -- while it runs -------------------------------------------------------------------------------------------------

    def committed(self, transaction: Transaction, changes: Pending) -> None:
        for table, rows in changes.items():
            model = table.model
            if model is Assignment:
                for pid, row in rows.items():
                    self._assigned(pid, table.rows.get(pid), row, changes)
            elif model is Checkpoint:
                for pid, row in rows.items():
                    self._checkpointed(transaction, pid, table.rows.get(pid), row)
            elif model is Order:
                owed = changes.get(self.db.table(LogDebt), {}).values()
                straight = {debt["message_id"] for debt in owed if debt is not None}
                for order_id, row in rows.items():
                    if row is not None and order_id not in table.rows:
                        self._taken_in(transaction, row, order_id in straight)

    def _assigned(self, pid: str, old: Row | None, new: Row | None, changes: Pending) -> None:
        if old is None or new is None:
            return
        same = (old["node_id"], old["epoch"]) == (new["node_id"], new["epoch"])
        require(same or new["epoch"] == old["epoch"] + 1, f"{pid[:4]}: {old['epoch']} → {new['epoch']}: not the next")
        if same:
            return
        self.ended_at[pid, old["epoch"]] = hub().steps
        row = changes.get(self.db.table(Checkpoint), {}).get(pid)
        require(
            row is not None and row["epoch"] == new["epoch"],
            f"{pid[:4]}: epoch {new['epoch']} is not in the checkpoint by the same transaction",
        )

    def _checkpointed(self, transaction: Transaction, pid: str, old: Row | None, new: Row | None) -> None:
        if old is None or new is None or new["state"] is old["state"]:
            return
        owner = self.db.table(Assignment).rows[pid]
        process, epoch = transaction.process, owner["epoch"]
        require(
            process.kind == "node" and process.name.split("/")[0] == owner["node_id"],
            f"{process} writes the checkpoint of {pid[:4]}, which is {owner['node_id'] or 'nobody'}'s (epoch {epoch})",
        )
        holder = self.holders.setdefault((pid, epoch), process)
        require(holder is process, f"{pid[:4]}: epoch {epoch} is {holder}'s and {process}'s")
        state = _look(new["state"])
        for order_id in state.ledger.orders:
            self.written[order_id] = pid
        for each in state.cancels:
            self.written[each.cancel.cancel_id] = ""

    def _taken_in(self, transaction: Transaction, row: Row, straight: bool) -> None:
        pid = row["portfolio_id"]
        epoch = self.db.table(Assignment).rows[pid]["epoch"]
        if row["epoch"] != epoch:
            # While the transaction lasts the epoch may end: it was today's when it was looked at, under the lock, and
            # the successor, whose checkpoint has the order too, is told that it is known.
            require(
                self.ended_at.get((pid, row["epoch"]), -1) >= transaction.locked,
                f"order {row['order_id'][:8]} of epoch {row['epoch']} was taken in at epoch {epoch}",
            )
        # What comes straight overtakes what is in the log and not read yet.
        first = (row["order_id"], row["epoch"]) in self.called_off and self.one_engine and not straight
        require(not first or row["state"] in OVER, f"order {row['order_id'][:8]} trades: its cancel was left out")
        for cancel in self.db.table(CancelRequest).rows.values():
            if cancel["order_id"] == row["order_id"]:
                require(row["state"] in OVER, f"order {row['order_id'][:8]} trades, though its cancel came before it")

    def logged(self, process: Process, topic: str, partition: int, offset: int, value: bytes) -> None:
        if topic == topics.ORDERS_SUBMISSION:
            message = decode_order(value)
            if isinstance(message, OrderSubmission):
                self.asked.add(message.order_id)
            elif message.order_id not in self.asked:
                self.called_off.add((message.order_id, message.epoch))
            name = message.cancel_id if isinstance(message, OrderCancel) else message.order_id
            # A cancel whose order ended before the checkpoint was written is in none, and changes nothing.
            order = self.db.table(Order).rows.get(message.order_id)
            idle = isinstance(message, OrderCancel) and order is not None and order["state"] in OVER
            require(idle or name in self.written, f"{process} sent {name[:8]}, which is in no committed checkpoint")
        elif topic == topics.ORDERS_FEEDBACK:
            said = decode_feedback(value)
            rows = self.db.table(OutboxMessage).rows.values()
            require(
                any(r["portfolio_id"] == said.portfolio_id and r["pseq"] == said.pseq for r in rows),
                f"feedback {said.pseq} was told before it was committed",
            )

    def received(self, process: Process, held: Held) -> None:
        order_id = held.order.order_id
        row = self.db.table(Order).rows.get(order_id)
        require(row is not None, f"the broker got order {order_id[:8]} that is in no book")
        require(
            held.submissions == 1 or self.lenient,
            f"the broker got order {order_id[:8]} {held.submissions} times, the last from {process}",
        )

    # -- when all is calm ----------------------------------------------------------------------------------------------

    def judge(self, portfolios: list[str], ticks: dict[str, int]) -> None:
        """`ticks`: of each code, how many were published."""
        outbox: dict[str, list[Row]] = defaultdict(list)
        for row in self.db.table(OutboxMessage).rows.values():
            outbox[row["portfolio_id"]].append(row)
            require(row["published"], f"feedback {row['pseq']} of {row['portfolio_id'][:4]} was never told")
        self._whole_log()
        told: dict[str, set[int]] = defaultdict(set)
        for (topic, _), records in self.log.places.items():
            for _, value in records if topic == topics.ORDERS_FEEDBACK else ():
                said = decode_feedback(value)
                told[said.portfolio_id].add(said.pseq)
        for pid in portfolios:
            state = kernel.decode(self.db.table(Checkpoint).rows[pid]["state"])
            self._prices(pid, state, ticks)
            self._answers(pid, state, [row["pseq"] for row in outbox[pid]], told[pid])
            self._orders(pid, state)
            self._cash(pid, state)

    def _whole_log(self) -> None:
        """Whatever the engine has is in the log, by whatever way it came."""
        logged: set[str] = set()
        for (topic, _), records in self.log.places.items():
            for _, value in records if topic == topics.ORDERS_SUBMISSION else ():
                logged.add(id_of(decode_order(value)))
        missing = [k for model in (Order, CancelRequest) for k in self.db.table(model).rows if k not in logged]
        require(not missing, f"{_short(missing)} are in the books and not in the log")

    def _prices(self, pid: str, state: kernel.PortfolioState, ticks: dict[str, int]) -> None:
        seen: dict[str, list[int]] = msgspec.json.decode(state.components.strategy.state)["seen"]
        for code, first in self.started[pid].items():
            numbers = seen.get(code, [])
            missing_from_start = list(range(first, ticks[code] + 1))
            if pid in self.skips:
                require(numbers == sorted(set(numbers)), f"{pid[:4]} saw {code} as {numbers}")
            elif first:
                require(numbers == missing_from_start, f"{pid[:4]} saw {code} as {numbers}, not 1 to {ticks[code]}")
            else:  # a code that a later configuration has added: from some point on, without a gap
                expected = list(range(numbers[0], ticks[code] + 1)) if numbers else []
                require(numbers == expected, f"{pid[:4]} saw {code} as {numbers}, up to {ticks[code]}")

    def _answers(self, pid: str, state: kernel.PortfolioState, pseqs: list[int], told: set[int]) -> None:
        counter = self.db.table(FeedbackCounter).rows.get(pid)
        last = counter["pseq"] if counter else 0
        dense = list(range(1, last + 1))
        require(sorted(pseqs) == dense, f"{pid[:4]}: feedback is numbered {sorted(pseqs)}, not up to {last}")
        require(sorted(told) == dense, f"{pid[:4]}: feedback {sorted(told)} was told, of {last}")
        require(state.pseq == last, f"{pid[:4]} has heard feedback up to {state.pseq} of {last}")

    def _orders(self, pid: str, state: kernel.PortfolioState) -> None:
        rows = {k: r for k, r in self.db.table(Order).rows.items() if r["portfolio_id"] == pid}
        lost = [order_id for order_id, owner in self.written.items() if owner == pid and order_id not in rows]
        require(not lost, f"{pid[:4]}: orders {_short(lost)} were checkpointed and never reached the engine")
        here = sorted(state.ledger.orders)
        there = sorted(k for k, r in rows.items() if r["state"] in OPEN)
        require(here == there, f"{pid[:4]} holds {_short(here)} for open, the engine {_short(there)}")
        working = sorted(
            k for k, h in self.exchange.book.items() if h.state == "working" and h.order.portfolio_id == pid
        )
        require(there == working, f"the engine holds {_short(there)} for open, the broker {_short(working)}")
        require(not state.cancels, f"{pid[:4]} still waits for {len(state.cancels)} cancels")
        for order_id, row in rows.items():
            require(order_id in self.written, f"order {order_id[:8]} was taken in, but never checkpointed")
            held = self.exchange.book.get(order_id)
            if held is None:
                require(row["state"] in ("rejected", "cancelled"), f"order {order_id[:8]} never reached the broker")
            else:
                require(held.order == _as_kernel(row), f"the broker has other contents for order {order_id[:8]}")

    def _cash(self, pid: str, state: kernel.PortfolioState) -> None:
        paid_in = 10**6 + self.deposits.get(pid, 0)
        require(state.ledger.initial == paid_in * UNIT, f"{pid[:4]} began with {state.ledger.initial}, not {paid_in}")
        cash, positions = state.ledger.initial, defaultdict[str, int](int)
        at_broker = set()
        for held in self.exchange.book.values():
            if held.order.portfolio_id != pid:
                continue
            for each in held.executions:
                at_broker.add(each.fill_id)
                cash -= held.order.direction * each.amount + each.commission + each.tax
                positions[held.order.code] += held.order.direction * each.volume
        held_now = {code: p.volume for code, p in state.ledger.positions.items()}
        require(state.ledger.cash == cash, f"{pid[:4]} has {state.ledger.cash} of cash, by the broker's fills {cash}")
        require(held_now == dict(positions), f"{pid[:4]} holds {held_now}, by the broker's fills {dict(positions)}")
        fills = {r["fill_id"] for r in self.db.table(Fill).rows.values() if r["portfolio_id"] == pid}
        require(fills == at_broker, f"{pid[:4]}: the engine has {len(fills)} fills, the broker {len(at_broker)}")
        entries = self.db.table(LedgerEntry).rows.values()
        booked = [r for r in entries if r["portfolio_id"] == pid and r["adjustment_id"] is None]
        change = sum(to_units(r["cash_change"]) for r in booked)
        require(
            len(booked) == len(at_broker) and state.ledger.initial + change == cash,
            f"{pid[:4]}: {len(booked)} ledger entries for {len(at_broker)} fills, a change of {change}",
        )


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(what)


def _short(ids: list[str]) -> list[str]:
    return [each[:8] for each in ids]


def _as_kernel(row: Row) -> object:
    from portfolios.kernel.orders import Order as KernelOrder

    return KernelOrder(
        order_id=row["order_id"], portfolio_id=row["portfolio_id"], code=row["code"], direction=row["direction"],
        order_type=row["order_type"], volume=row["volume"],
        price=None if row["price"] is None else float(row["price"]), cause=row["cause"], timestamp=row["event_time"],
    )  # fmt: skip
