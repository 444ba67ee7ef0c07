"""Export and import (SPEC P9): a portfolio as one JSON document, its configuration and, if wanted, its state."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.db import transaction

from portfolios import books, checkpoints, configs, statefile
from portfolios.creation import create, name_faults
from portfolios.errors import Conflict, InvalidConfig
from portfolios.kernel import state as saved
from portfolios.kernel.config import Fault, parse
from portfolios.kernel.ledger import Ledger
from portfolios.kernel.money import to_decimal
from portfolios.lookup import get, locked, user_of
from portfolios.models import Account, Adjustment, Assignment, LedgerEntry, Portfolio
from portfolios.models.adjustment import AdjustmentKind
from portfolios.models.portfolio import DesiredState
from portfolios.revising import update_config

EXPORT_FORMAT = 1

_REQUIRED = ("name", "market", "initial_cash", "config")
_KNOWN = (*_REQUIRED, "id", "version", "account", "exported_at")
_MARKET_DATA = "ginkgo.live.market."


def export_portfolio(portfolio_id: str | Portfolio, with_state: bool = False) -> dict[str, Any]:
    """One JSON document, as `import_portfolio` takes it. `with_state` adds the last checkpoint's snapshot, None for
    one that never ran. Takes an id, or a portfolio as it was read. Raises NotFound."""
    portfolio = portfolio_id if isinstance(portfolio_id, Portfolio) else get(portfolio_id)
    account = portfolio.account
    document: dict[str, Any] = {
        "ginkgo_export": EXPORT_FORMAT,
        "portfolio": {
            "id": portfolio.id,
            "name": portfolio.name,
            "market": portfolio.market,
            "initial_cash": str(portfolio.initial_cash),
            "account": {
                "name": account.name,
                "broker": account.broker,
                "kind": account.kind,
                "currency": account.currency,
            },
            "version": portfolio.version,
            "config": portfolio.config,
        },
    }
    if with_state:
        state = bytes(portfolio.checkpoint.state)
        document["state"] = json.loads(state) if state else None
    return document


def import_portfolio(
    document: Any,
    owner: User | str | None = None,
    portfolio_id: str | None = None,
    author: User | None = None,
    account: Account | str | None = None,
    confirmed: bool = False,
) -> Portfolio:
    """A new portfolio from an export; with `portfolio_id`, that one's next version instead.

    A state in the document becomes the new portfolio's, or replaces that of the one given, which must be stopped: all
    but its open orders (see `statefile.restored`), and with a ledger entry for every difference. `account` as in
    `create`, never the document's. Raises InvalidConfig with every fault of the document, NotFound, Conflict,
    Unconfirmed; nothing has been written then.
    """
    faults = faults_of(document)
    if faults:
        raise InvalidConfig(faults)
    inner, state = document["portfolio"], document.get("state")
    if portfolio_id is None:
        with transaction.atomic():
            made = create(
                inner["name"], owner, inner["market"], inner["initial_cash"], inner["config"],
                author=author, account=account, confirmed=confirmed, change="imported",
            )  # fmt: skip
            if state is not None:
                _take_over(made, state, author or made.owner)
        return made
    if get(portfolio_id).market != inner["market"]:
        raise Conflict(f"the export is of market {inner['market']}, the portfolio trades {get(portfolio_id).market}")
    with transaction.atomic():
        if state is not None:
            _stopped(locked(portfolio_id))
        changed = update_config(portfolio_id, inner["config"], author, change="imported")
        if state is not None:
            _take_over(changed, state, user_of(author))
    return changed


def faults_of(document: Any) -> list[Fault]:
    """All that is wrong with an export, or nothing."""
    inner = document.get("portfolio") if isinstance(document, Mapping) else None
    if not isinstance(inner, Mapping) or document.get("ginkgo_export") != EXPORT_FORMAT:
        return [Fault("ginkgo_export", f"must be {EXPORT_FORMAT}: this is no exported portfolio")]
    faults = [Fault(key, "is unknown here") for key in document if key not in ("ginkgo_export", "portfolio", "state")]
    faults += [Fault(f"portfolio.{key}", "is unknown here") for key in inner if key not in _KNOWN]
    faults += [Fault(f"portfolio.{key}", "is missing") for key in _REQUIRED if key not in inner]
    if "name" in inner:
        faults += name_faults(inner["name"])
    if "initial_cash" in inner:
        faults += configs.cash_of(inner["initial_cash"])[1]
    market = inner.get("market")
    wrong = configs.market_faults(str(market)) if "market" in inner else [Fault("market", "is missing")]
    if "config" in inner:
        config = configs.faults_of(inner["config"], str(market))
        faults += config if "market" in inner else [each for each in config if each.path != "market"]
    if document.get("state") is not None and not wrong:
        faults += statefile.faults_of(document["state"], str(market))
        if not faults:
            faults += _refused_by_components(document)
    return faults


def open_orders_of(document: Any) -> int:
    """How many open orders the state of a faultless document has, which an import leaves out."""
    state = document.get("state")
    return len(state["ledger"].get("orders", {})) if state else 0


def _refused_by_components(document: Any) -> list[Fault]:
    inner = document["portfolio"]
    try:
        config = parse(inner["config"], inner["market"])
        statefile.restored(document["state"], "import", config, inner["market"], 0, 0)
    except ValueError as error:
        return [Fault("state.components", f"cannot be restored: {error}")]
    return []


def _stopped(portfolio: Portfolio) -> None:
    """Only what nobody runs, and has no order out, can be given another state. Raises Conflict."""
    assignment = Assignment.objects.select_for_update().get(portfolio=portfolio)
    if portfolio.desired_state != DesiredState.STOPPED or assignment.node_id:
        raise Conflict(f"{portfolio.name} is not stopped: a state can only replace a stopped portfolio's")
    state = bytes(portfolio.checkpoint.state)
    if state and saved.decode(state).ledger.orders:
        raise Conflict(
            f"{portfolio.name} has open orders, whose fills would be booked on another state: "
            "start it, let them end, and stop it"
        )
    if portfolio.adjustments.filter(state="pending").exists():
        raise Conflict(f"{portfolio.name} has deposits or corrections that are still to be applied: try again")


def _take_over(portfolio: Portfolio, state: Any, author: User) -> None:
    """Make `state` that of a portfolio that is nobody's, in the caller's transaction."""
    loaded = checkpoints.load(portfolio.id)
    assert loaded is not None
    before = books.restored(loaded) if not loaded.state else None
    old = Ledger(initial=0, cash=before.cash) if before is not None else saved.decode(loaded.state).ledger
    incarnation = loaded.incarnation + (1 if loaded.state else 0)
    config = parse(portfolio.config, portfolio.market)
    made = statefile.restored(state, portfolio.id, config, portfolio.market, loaded.pseq, incarnation)
    now = datetime.now(UTC)
    entries = tuple(_differences(portfolio, old, saved.decode(made).ledger, author, now))
    save = replace(
        checkpoints.parked(loaded, [topic for topic in loaded.offsets if topic.startswith(_MARKET_DATA)]),
        state=made,
        config_version=portfolio.version,
        incarnation=incarnation,
        ledger=entries,
    )
    if checkpoints.save([save], now):
        raise Conflict(f"{portfolio.name} has just changed hands: try again")


def _differences(portfolio: Portfolio, old: Ledger, new: Ledger, author: User, now: datetime) -> Iterator[LedgerEntry]:
    """An adjustment for each: cash and positions stay the sum of the ledger, which the engine judges orders by."""

    def entry(amount: int = 0, code: str = "", volume: int = 0, price: int = 0) -> LedgerEntry:
        asked = Adjustment.objects.create(
            portfolio=portfolio, kind=AdjustmentKind.IMPORT, amount=to_decimal(amount), code=code, volume=volume,
            price=to_decimal(price) if code else None, reason="state imported", author=author,
        )  # fmt: skip
        return LedgerEntry(
            portfolio=portfolio, kind=asked.kind, adjustment=asked, code=code,
            direction=(volume > 0) - (volume < 0), volume=abs(volume), price=to_decimal(price),
            cash_change=to_decimal(amount), event_time=now,
        )  # fmt: skip

    if new.cash != old.cash:
        yield entry(amount=new.cash - old.cash)
    for code in sorted(old.positions.keys() | new.positions.keys()):
        was, held = old.positions.get(code), new.positions.get(code)
        change = (held.volume if held else 0) - (was.volume if was else 0)
        if change:
            position = held or was
            assert position is not None
            yield entry(code=code, volume=change, price=abs(position.average_cost))


__all__ = ["EXPORT_FORMAT", "export_portfolio", "faults_of", "import_portfolio", "open_orders_of"]
