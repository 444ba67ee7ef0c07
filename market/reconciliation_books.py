"""Reads both sides of each comparison as of one moment, while everybody goes on trading (SPEC M6).

* A portfolio's own books are its checkpoint, read in one statement with the number of its newest adjustment. Of the
  engine's fills those count that were told by then (`pseq`), of the ledger's adjustments those up to that number: both
  were written before, and do not change any more. So what is in flight never differs.
* A broker has no such number. Its account is read before and after our own books; it must not have moved meanwhile, and
  what it has executed of open orders without our knowing yet is asked for, and counted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import msgspec
from django.db.models import Q

from market import reconciliation_sums as sums
from market.brokers.port import Holdings, Report
from market.engine.asking import ask
from market.engine.books import OPEN
from market.models import Fill, Order
from market.reconciliation import Holding, Trade, implied, together
from portfolios.kernel.money import to_units
from portfolios.models import Checkpoint, Portfolio

log = logging.getLogger(__name__)

_PART = 200


class Asked(Protocol):
    """What is asked of a broker (`market.brokers.port.Broker`)."""

    @property
    def name(self) -> str: ...
    def holdings(self, portfolio_ids: Sequence[str]) -> Holdings: ...
    def query(self, order_ids: Sequence[str]) -> dict[str, Report]: ...


@dataclass(frozen=True)
class Subject:
    """A portfolio to be compared; `initial_cash` in units."""

    portfolio_id: str
    name: str
    market: str
    initial_cash: int
    account_id: str
    account: str


@dataclass(frozen=True)
class Pair:
    """Both sides of one portfolio's comparison, at `pseq`. `cash` is its own, which on margin is not its paid cash."""

    subject: Subject
    pseq: int
    expected: Holding
    actual: Holding
    cash: int


class _Position(msgspec.Struct):
    volume: int = 0
    cost: int = 0
    margin_rate: int = 0


class _Ledger(msgspec.Struct):
    cash: int
    positions: dict[str, _Position] = {}


class _State(msgspec.Struct):
    """Of a snapshot, only what is compared."""

    ledger: _Ledger


class _Own(NamedTuple):
    """As a checkpoint has it; `adjusted` is the newest adjustment in it."""

    pseq: int
    adjusted: int
    ledger: _Ledger


_state = msgspec.json.Decoder(_State).decode


def subjects(broker: str) -> list[Subject]:
    """The portfolios whose account is at this broker, by account. Raises django.db.Error."""
    rows = Portfolio.objects.filter(account__broker=broker).order_by("account_id", "id")
    columns = ("id", "name", "market", "initial_cash", "account_id", "account__name")
    return [
        Subject(id_, name, market, to_units(cash), account_id, account)
        for id_, name, market, cash, account_id, account in rows.values_list(*columns)
    ]


def pairs(chosen: Sequence[Subject]) -> Iterator[Pair]:
    """Fills and ledger beside each portfolio's own books. Raises django.db.Error.

    A checkpoint that cannot be read is left out, with a line in the log: whoever runs it will say more.
    """
    for start in range(0, len(chosen), _PART):
        part = {each.portfolio_id: each for each in chosen[start : start + _PART]}
        own = _own(part)
        if own:
            yield from _pairs(part, own)


def account(broker: Asked, chosen: Sequence[Subject], attempts: int = 5) -> tuple[Holding, Holding] | None:
    """What the portfolios of one account should hold together, and what the broker says; None if it would not stand
    still for long enough. Raises django.db.Error, BrokerUnavailable."""
    ids = [each.portfolio_id for each in chosen]
    unknown = sums.imported_on_margin({each.portfolio_id: each.market for each in chosen})
    before = broker.holdings(ids)
    for _ in range(attempts):
        in_flight = _in_flight(broker, ids)
        trades, adjusted = sums.trades(Q(portfolio_id__in=ids)), sums.adjusted(ids)
        booked = _booked(in_flight)
        ours = [
            implied(
                each.initial_cash, trades[each.portfolio_id], adjusted[each.portfolio_id], sums.on_margin(each.market)
            )
            for each in chosen
        ]
        ours.append(implied(0, [trade for fill_id, trade in in_flight.items() if fill_id not in booked]))
        after = broker.holdings(ids)
        if after == before:
            theirs = {code: volume for code, volume in after.positions.items() if volume}
            return together(ours), Holding(None if unknown else after.cash, theirs)
        before = after
    return None


def _own(part: Mapping[str, Subject]) -> dict[str, _Own]:
    rows = Checkpoint.objects.filter(portfolio_id__in=list(part)).order_by().annotate(adjusted=sums.NEWEST_ADJUSTMENT)
    found = {}
    for id_, pseq, state, adjusted in rows.values_list("portfolio_id", "pseq", "state", "adjusted"):
        try:
            ledger = _state(bytes(state)).ledger if state else _Ledger(part[id_].initial_cash)
        except msgspec.MsgspecError as error:
            log.error("The checkpoint of portfolio %s cannot be read, so it is not reconciled: %s", id_, error)
            continue
        found[id_] = _Own(pseq, adjusted or 0, ledger)
    return found


def _pairs(part: Mapping[str, Subject], own: Mapping[str, _Own]) -> Iterator[Pair]:
    told = Q(*(Q(portfolio_id=id_, pseq__lte=books.pseq) for id_, books in own.items()), _connector=Q.OR)
    trades = sums.trades(told)
    adjusted = sums.adjusted(list(own), lambda id_, entry: entry <= own[id_].adjusted)
    unknown = sums.imported_on_margin({id_: part[id_].market for id_ in own})
    for id_, books in own.items():
        subject, positions = part[id_], books.ledger.positions
        at_entry = sum(each.cost for each in positions.values() if each.margin_rate)
        paid = None if id_ in unknown else books.ledger.cash - at_entry
        yield Pair(
            subject,
            books.pseq,
            implied(subject.initial_cash, trades[id_], adjusted[id_], sums.on_margin(subject.market)),
            Holding(paid, {code: each.volume for code, each in positions.items() if each.volume}),
            books.ledger.cash,
        )


def _in_flight(broker: Asked, ids: Sequence[str]) -> dict[str, Trade]:
    """What the broker has executed of the orders that are open by our books, by fill."""
    rows = Order.objects.filter(portfolio_id__in=list(ids), state__in=OPEN, broker=broker.name).order_by()
    orders = {order_id: (code, direction) for order_id, code, direction in rows.values_list("pk", "code", "direction")}
    found = {}
    names = list(orders)
    for start in range(0, len(names), _PART):
        for order_id, report in ask(broker, names[start : start + _PART]).known.items():
            for each in report.executions:
                trade = Trade(*orders[order_id], each.volume, each.amount, each.commission + each.tax)
                found[each.fill_id] = trade
    return found


def _booked(in_flight: Mapping[str, Trade]) -> set[str]:
    if not in_flight:
        return set()
    return set(Fill.objects.filter(fill_id__in=list(in_flight)).values_list("fill_id", flat=True))
