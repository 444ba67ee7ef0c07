"""Deposits, withdrawals and corrections (SPEC P11): asked for here, applied once by whoever owns the portfolio.

A request is a row. The node that owns the portfolio books it in its own thread and writes the ledger entry with the
checkpoint that contains it; of a portfolio that is nobody's these services do the same, under its assignment's lock.
A crash leaves the request pending and the books without it, or both done.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Exists, OuterRef

from portfolios import books, checkpoints, configs, signals
from portfolios.errors import Conflict, InvalidConfig, Refused
from portfolios.kernel.codes import MARKETS, fault_of
from portfolios.kernel.config import Fault
from portfolios.lookup import get, not_found, user_of
from portfolios.models import Adjustment, Assignment, LedgerEntry, Portfolio
from portfolios.models.adjustment import AdjustmentKind, AdjustmentState

_MOST_VOLUME = 10**12
_LOOK_EVERY = 0.2


def deposit(
    portfolio_id: str, amount: Any, reason: str, author: User | str | None = None, request_id: str | None = None
) -> Adjustment:
    """`amount` (above 0) more cash. See `_ask` for the rest."""
    cash, faults = _amount(amount)
    return _ask(portfolio_id, AdjustmentKind.DEPOSIT, reason, author, request_id, faults, amount=cash)


def withdraw(
    portfolio_id: str, amount: Any, reason: str, author: User | str | None = None, request_id: str | None = None
) -> Adjustment:
    """`amount` (above 0) less cash; Refused when more than is available."""
    cash, faults = _amount(amount)
    return _ask(portfolio_id, AdjustmentKind.WITHDRAWAL, reason, author, request_id, faults, amount=-cash)


def correct_cash(
    portfolio_id: str, amount: Any, reason: str, author: User | str | None = None, request_id: str | None = None
) -> Adjustment:
    """`amount` more cash, or, negative, less: the books were wrong by so much."""
    text = str(amount).strip()
    cash, faults = _amount(text.removeprefix("-"))
    signed = -cash if text.startswith("-") else cash
    return _ask(portfolio_id, AdjustmentKind.CORRECTION, reason, author, request_id, faults, amount=signed)


def correct_position(
    portfolio_id: str,
    code: str,
    volume: Any,
    reason: str,
    price: Any = None,
    author: User | str | None = None,
    request_id: str | None = None,
) -> Adjustment:
    """`volume` more of a code at `price` (its cost), or, negative, less; no cash moves, and it is no profit.

    Without a price, what is taken away leaves at its average cost.
    """
    faults = [Fault("code", wrong)] if (wrong := fault_of(code, get(portfolio_id).market)) else []
    whole = _whole("volume", volume, faults)
    cost = _cost("price", price, faults) if price is not None else None
    return _ask(
        portfolio_id, AdjustmentKind.CORRECTION, reason, author, request_id, faults,
        code=code, volume=whole, price=cost,
    )  # fmt: skip


def opening_faults(positions: Any, market: str) -> list[Fault]:
    """What is wrong with a new portfolio's opening positions (see `open_with`), or nothing."""
    return _openings(positions, market)[1]


def open_with(portfolio: Portfolio, positions: Sequence[Mapping[str, Any]], author: User) -> None:
    """Opening positions of a portfolio that was just made, in its transaction: each with `code`, `volume`,
    `cost_price` and, optionally, `date` (since when it is held). Raises InvalidConfig with every fault."""
    openings, faults = _openings(positions, portfolio.market)
    if faults:
        raise InvalidConfig(faults)
    asked = [
        Adjustment.objects.create(
            portfolio=portfolio, kind=AdjustmentKind.OPENING, reason="opening position", author=author, **each
        )
        for each in openings
    ]
    settle(portfolio.id)
    for number, each in enumerate(asked):
        each.refresh_from_db()
        if each.state == AdjustmentState.REFUSED:
            raise InvalidConfig([Fault(f"positions[{number}]", each.outcome)])


def pending(portfolio_id: str) -> list[Adjustment]:
    """What is still to be applied, oldest first."""
    return list(Adjustment.objects.filter(portfolio_id=portfolio_id, state=AdjustmentState.PENDING).order_by("id"))


def refuse(asked: Adjustment, why: str, epoch: int) -> bool:
    """The owner at `epoch` cannot apply it; False if it is not the owner any more, or it is settled."""
    ours = Assignment.objects.filter(portfolio_id=OuterRef("portfolio_id"), epoch=epoch)
    rows = Adjustment.objects.filter(Exists(ours), pk=asked.pk, state=AdjustmentState.PENDING)
    return bool(rows.update(state=AdjustmentState.REFUSED, outcome=why[:300], settled_at=datetime.now(UTC)))


def settle(portfolio_id: str) -> bool:
    """Apply what is pending of a portfolio that is nobody's; False if a node owns it, whose part it then is.

    Raises NotFound, Conflict when its books cannot be opened.
    """
    now = datetime.now(UTC)
    with transaction.atomic():
        if _locked_assignment(portfolio_id).node_id:
            return False
        waiting = pending(portfolio_id)
        loaded = checkpoints.load(portfolio_id) if waiting else None
        if loaded is None:
            return True
        portfolio = books.restored(loaded)
        entries: list[LedgerEntry] = []
        for asked in waiting:
            try:
                entries.append(books.book(portfolio, asked))
            except Refused as refusal:
                refuse(asked, str(refusal), loaded.epoch)
        if entries and checkpoints.save([books.save_of(loaded, portfolio, tuple(entries))], now):
            raise Conflict(f"portfolio {portfolio_id} has just changed hands: try again")
    return True


def wait_for(asked: Adjustment, timeout: float) -> Adjustment:
    """Until it is applied, at most `timeout` seconds; still pending after that, its owner will apply it.

    Raises Refused when it was refused.
    """
    deadline = time.monotonic() + timeout
    pause = threading.Event()
    while asked.state == AdjustmentState.PENDING and time.monotonic() < deadline:
        pause.wait(_LOOK_EVERY)
        settle(asked.portfolio_id)
        asked.refresh_from_db()
    return _or_refused(asked)


def list_adjustments(portfolio_id: str, limit: int = 1000) -> list[dict[str, Any]]:
    """The newest `limit`, newest first: id, kind, state, amount, code, volume, price, held_since, reason, author,
    requested_at, settled_at, outcome. Raises NotFound."""
    get(portfolio_id)
    rows = Adjustment.objects.filter(portfolio_id=portfolio_id).select_related("author", "entry").order_by("-id")
    return [facts(row) for row in rows[:limit]]


def facts(asked: Adjustment) -> dict[str, Any]:
    """One of them, as `list_adjustments` gives it."""
    entry = getattr(asked, "entry", None) if asked.code else None
    return {
        "id": asked.request_id,
        "kind": asked.kind,
        "state": asked.state,
        "amount": asked.amount,
        "code": asked.code,
        "volume": asked.volume,
        "price": entry.price if entry is not None else asked.price,
        "held_since": asked.held_since.isoformat() if asked.held_since else None,
        "reason": asked.reason,
        "author": asked.author.get_username(),
        "requested_at": asked.requested_at,
        "settled_at": asked.settled_at,
        "outcome": asked.outcome,
    }


def _ask(
    portfolio_id: str,
    kind: AdjustmentKind,
    reason: str,
    author: User | str | None,
    request_id: str | None,
    faults: list[Fault],
    **what: Any,
) -> Adjustment:
    """The request, applied at once if the portfolio is nobody's, else pending until its node has applied it.

    `author`: who (a user, a name, None: the first administrator). The same `request_id` again is the same request.
    Raises NotFound, InvalidConfig with every fault, Refused, Conflict.
    """
    if not isinstance(reason, str) or not 0 < len(reason.strip()) <= 300:
        faults.append(Fault("reason", "must have 1 to 300 characters: it is kept in the books"))
    if request_id is not None and not _is_id(request_id):
        faults.append(Fault("request_id", f"must be a UUID, got {request_id!r}"))
    if faults:
        raise InvalidConfig(faults)
    fields = {"kind": kind, "reason": reason.strip(), "author": user_of(author), **what}
    with transaction.atomic():
        # Before the row is written, so that of two who ask at once neither holds what the other waits for.
        _locked_assignment(portfolio_id)
        if request_id is None:
            asked = Adjustment.objects.create(portfolio_id=portfolio_id, **fields)
        else:
            asked, made = Adjustment.objects.get_or_create(
                request_id=request_id, defaults={"portfolio_id": portfolio_id, **fields}
            )
            if not made and any(getattr(asked, k) != v for k, v in {"portfolio_id": portfolio_id, **fields}.items()):
                raise Conflict(f"request {request_id} was made before with other contents")
        settle(portfolio_id)
    asked.refresh_from_db()
    if asked.state == AdjustmentState.PENDING:
        signals.tell(signals.adjustment_asked, portfolio_id, asked_by=asked.author.get_username())
    return _or_refused(asked)


def _locked_assignment(portfolio_id: str) -> Assignment:
    """Until the transaction ends whoever becomes its owner waits, and so does another who wants to do the same as we.

    Raises NotFound.
    """
    assignment = Assignment.objects.select_for_update().filter(portfolio_id=portfolio_id).first()
    if assignment is None:
        raise not_found(portfolio_id)
    return assignment


def _or_refused(asked: Adjustment) -> Adjustment:
    if asked.state == AdjustmentState.REFUSED:
        raise Refused(f"{asked.kind} refused: {asked.outcome}")
    return asked


def _amount(value: Any) -> tuple[Decimal, list[Fault]]:
    amount, faults = configs.cash_of(value)
    return amount or Decimal(0), [fault._replace(path="amount") for fault in faults]


def _openings(positions: Any, market: str) -> tuple[list[dict[str, Any]], list[Fault]]:
    faults: list[Fault] = []
    openings: list[dict[str, Any]] = []
    if not isinstance(positions, Sequence) or isinstance(positions, str):
        return [], [Fault("positions", "must be a list")]
    for number, given in enumerate(positions):
        path = f"positions[{number}]"
        if not isinstance(given, Mapping):
            faults.append(Fault(path, "must be an object with code, volume and cost_price"))
            continue
        faults += [
            Fault(f"{path}.{key}", "is unknown here: allowed is code, cost_price, date, volume")
            for key in given
            if key not in ("code", "volume", "cost_price", "date")
        ]
        if wrong := fault_of(given.get("code"), market if market in MARKETS else None):
            faults.append(Fault(f"{path}.code", wrong))
        elif any(given["code"] == each["code"] for each in openings):
            faults.append(Fault(f"{path}.code", f"{given['code']!r} is given twice"))
        openings.append(
            {
                "code": given.get("code"),
                "volume": _whole(f"{path}.volume", given.get("volume"), faults, negative=market == "futures"),
                "price": _cost(f"{path}.cost_price", given.get("cost_price"), faults),
                "held_since": _day(f"{path}.date", given.get("date"), faults),
            }
        )
    return openings, faults


def _whole(path: str, value: Any, faults: list[Fault], *, negative: bool = True) -> int:
    try:
        volume = int(str(value))
    except ValueError:
        volume = 0
    if volume == 0 or abs(volume) > _MOST_VOLUME or (volume < 0 and not negative) or isinstance(value, bool):
        allowed = "a whole number other than 0" if negative else "a whole number above 0"
        faults.append(Fault(path, f"must be {allowed}, got {value!r}"))
    return volume


def _cost(path: str, value: Any, faults: list[Fault]) -> Decimal:
    price, found = configs.cash_of(value)
    faults.extend(fault._replace(path=path) for fault in found)
    return price or Decimal(0)


def _day(path: str, value: Any, faults: list[Fault]) -> date | None:
    if value is None:
        return None
    try:
        day = value if isinstance(value, date) else date.fromisoformat(str(value))
    except ValueError:
        faults.append(Fault(path, f"must be a date like 2026-03-31, got {value!r}"))
        return None
    if day > datetime.now(UTC).date():
        faults.append(Fault(path, f"must not be in the future, got {day}"))
    return day


def _is_id(text: Any) -> bool:
    try:
        return bool(str(UUID(str(text))) == text)
    except ValueError:
        return False
