"""The simulated exchange's book in the database: what it accepted and executed, apart from the engine's (SPEC M4)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

import msgspec
from django.db.models import F
from django.utils import timezone

from market import reconciliation_sums as sums
from market.brokers.port import Execution, Holdings, Report, State
from market.engine.transactions import writing
from market.models import BrokerFill, BrokerOrder
from market.reconciliation import implied, together
from portfolios.kernel.exchange import Fill, Resting
from portfolios.kernel.money import to_decimal, to_units
from portfolios.models import Portfolio

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Resting).decode


class _Cursor(msgspec.Struct):
    """Of a resting order, only where it stands."""

    topic: str
    partition: int
    offset: int


_cursor = msgspec.json.Decoder(_Cursor).decode


@dataclass(frozen=True)
class Placed:
    """An order as it stands in the book. `token` is what a change of it must find there to be made."""

    resting: Resting
    token: str
    since: datetime


@dataclass
class Change:
    """What the matching made of one order: its new cursor, its fills, and its end if it came."""

    placed: Placed
    resting: Resting
    fills: list[Fill] = field(default_factory=list)
    expired_at: datetime | None = None

    @property
    def state(self) -> State:
        if self.expired_at is not None:
            return "cancelled"
        return "working" if self.resting.remaining > 0 else "filled"


@dataclass(frozen=True)
class Entry:
    """An order that arrives at the exchange: a `resting` one, or one that it refuses, and why."""

    order_id: str
    portfolio_id: str
    code: str
    direction: int
    volume: int
    at: datetime
    resting: Resting | None
    refusal: str = ""


def enter(entries: Sequence[Entry]) -> tuple[list[Report], list[Placed]]:
    """Take orders into the book: a report each, and those that now work.

    An id that is there already is answered with what is known, and its repetition counted. Raises django.db.Error.
    """
    with writing():
        ids = [each.order_id for each in entries]
        there = {row.order_id: row for row in BrokerOrder.objects.select_for_update().filter(order_id__in=ids)}
        repeated = list(there)
        if repeated:
            BrokerOrder.objects.filter(order_id__in=repeated).update(submitted_count=F("submitted_count") + 1)
        new: dict[str, BrokerOrder] = {}
        for each in entries:
            if each.order_id not in there:
                new[each.order_id] = there[each.order_id] = _row(each)
        BrokerOrder.objects.bulk_create(new.values())
        reports = _reports(there.values())
    placed = [_placed(row) for row in there.values() if row.state == "working"]
    return [reports[each.order_id] for each in entries], placed


def reports(order_ids: Sequence[str]) -> dict[str, Report]:
    """What the book has of these orders; one that is missing was never received."""
    return _reports(BrokerOrder.objects.filter(order_id__in=list(order_ids)))


def working(order_ids: Iterable[str]) -> list[Placed]:
    return [_placed(row) for row in BrokerOrder.objects.filter(order_id__in=list(order_ids), state="working")]


def working_of(portfolio_ids: Iterable[str]) -> list[Placed]:
    """All that these portfolios have at work."""
    return [_placed(row) for row in BrokerOrder.objects.filter(portfolio_id__in=list(portfolio_ids), state="working")]


def cancel(order_id: str, at: datetime, reason: str) -> Report | None:
    """End a working order; what became of it (it may have been filled before), or None if it was never received."""
    with writing():
        row = BrokerOrder.objects.select_for_update().filter(order_id=order_id).first()
        if row is None:
            return None
        if row.state == "working":
            row.state, row.reason, row.ended_at = "cancelled", reason[:300], at
            row.save(update_fields=["state", "reason", "ended_at", "updated_at"])
        return _reports([row])[order_id]


def change(changes: Sequence[Change]) -> tuple[dict[str, Placed], set[str]]:
    """Commit what the matching made of orders: cursor, fills and end together, in one transaction.

    An order that is no longer in the book as it was read (cancelled, or another engine's matching was quicker) is
    left alone. The still working ones as they now stand, and the ids of those left alone.
    """
    lost: set[str] = set()
    standing: dict[str, Placed] = {}
    fills: list[BrokerFill] = []
    with writing():
        for each in changes:
            order_id = each.resting.order_id
            token = _encode(each.resting).decode()
            rows = BrokerOrder.objects.filter(order_id=order_id, state="working", resting=each.placed.token)
            done = rows.update(
                resting=token,
                state=each.state,
                filled_volume=each.resting.filled,
                reason="expired" if each.expired_at is not None else "",
                ended_at=each.expired_at,
                updated_at=timezone.now(),
            )
            if not done:
                lost.add(order_id)
                continue
            if each.state == "working":
                standing[order_id] = Placed(each.resting, token, each.placed.since)
            number = 0
            if each.fills and each.placed.resting.filled:
                number = BrokerFill.objects.filter(order_id=order_id).count()
            fills += [_fill(fill, number + i) for i, fill in enumerate(each.fills, 1)]
        if fills:
            BrokerFill.objects.bulk_create(fills)
    return standing, lost


def reanchor(placed: Placed, offset: int) -> Placed | None:
    """Move a working order's cursor to `offset`, for a log that no longer has what it waits for."""
    resting = msgspec.structs.replace(placed.resting, offset=offset)
    standing, _ = change([Change(placed, resting)])
    return standing.get(resting.order_id)


def holdings(portfolio_ids: Sequence[str]) -> Holdings:
    """Portfolios' account as the sum of the exchange's own executions, and what its owner brought or took."""
    ids = list(portfolio_ids)
    executed, adjusted = sums.executions(ids), sums.adjusted(ids)
    rows = Portfolio.objects.filter(id__in=ids).order_by().values_list("id", "initial_cash", "market")
    all_of_them = together(
        implied(to_units(cash), executed[id_], adjusted[id_], sums.on_margin(market)) for id_, cash, market in rows
    )
    return Holdings(all_of_them.cash or 0, dict(all_of_them.positions))


def _row(entry: Entry) -> BrokerOrder:
    refused = entry.resting is None
    return BrokerOrder(
        order_id=entry.order_id,
        portfolio_id=entry.portfolio_id,
        code=entry.code,
        direction=entry.direction,
        volume=entry.volume,
        state="rejected" if refused else "working",
        reason=entry.refusal[:300],
        ended_at=entry.at if refused else None,
        resting="" if entry.resting is None else _encode(entry.resting).decode(),
    )


def _placed(row: BrokerOrder) -> Placed:
    return Placed(_decode(row.resting), row.resting, row.created_at)


def _fill(fill: Fill, number: int) -> BrokerFill:
    return BrokerFill(
        fill_id=fill.fill_id,
        order_id=fill.order_id,
        number=number,
        volume=fill.volume,
        price=to_decimal(fill.price),
        amount=to_decimal(fill.amount),
        commission=to_decimal(fill.commission),
        tax=to_decimal(fill.tax),
        event_time=fill.timestamp,
    )


def _reports(rows: Iterable[BrokerOrder]) -> dict[str, Report]:
    rows = list(rows)
    executions: dict[str, list[Execution]] = defaultdict(list)
    filled = [row.order_id for row in rows if row.filled_volume]
    if filled:
        for each in BrokerFill.objects.filter(order_id__in=filled).order_by("number"):
            executions[each.order_id].append(_execution(each))
    return {
        row.order_id: Report(
            row.order_id, _state(row), row.reason, row.ended_at, tuple(executions[row.order_id]), _seen(row)
        )
        for row in rows
    }


def _seen(row: BrokerOrder) -> str:
    if not row.resting:
        return ""
    cursor = _cursor(row.resting)
    return f"{cursor.topic}:{cursor.partition}:{cursor.offset}"


def _state(row: BrokerOrder) -> State:
    known: dict[str, Literal["working", "filled", "cancelled", "rejected"]] = {
        "working": "working",
        "filled": "filled",
        "cancelled": "cancelled",
        "rejected": "rejected",
    }
    return known[row.state]


def _execution(fill: BrokerFill) -> Execution:
    return Execution(
        fill.fill_id,
        fill.volume,
        to_units(fill.price),
        to_units(fill.amount),
        to_units(fill.commission),
        to_units(fill.tax),
        fill.event_time,
    )
