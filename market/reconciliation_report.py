"""Reconciliation on demand: an engine is asked to compare, and where none answers the books are compared here."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from market.models import Mismatch
from market.models.reconciliation import MismatchState
from market.reconciliation import Key
from market.reconciliation_round import Round, amounts, look
from market.reconciliation_watch import last, want
from portfolios.models import Portfolio

_NOTICED_WITHIN = 4.0
_DONE_WITHIN = 30.0
_APART = 1.0
_LOOK_EVERY = 0.1


@dataclass
class Report:
    """`differences` as `facts` gives them; `brokers`: what was compared with each; `notes`: what could not be."""

    differences: list[dict[str, Any]] = field(default_factory=list)
    brokers: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def document(self) -> dict[str, Any]:
        return {"differences": self.differences, "brokers": self.brokers, "notes": self.notes}


def reconcile(engines: bool = True) -> Report:
    """Compare everything now and wait for it. `engines`: whether one may be alive. Raises django.db.Error.

    A difference is one that two successive comparisons have found. Without an engine nobody asks the broker, and
    nothing is written down or alerted.
    """
    report = Report()
    brokers = list(Portfolio.objects.order_by("account__broker").values_list("account__broker", flat=True).distinct())
    asked_at = datetime.now(UTC)
    if engines:
        for broker in brokers:
            want(broker, asked_at)
    begun = time.monotonic()
    for broker in brokers:
        if engines and _answered(broker, asked_at, begun):
            _take_over(broker, report)
        else:
            _compare_here(broker, report)
    return report


def facts(found: Mismatch) -> dict[str, Any]:
    """One as the API and the command give it. Wants its portfolio and account joined."""
    return {
        "id": found.pk,
        "scope": found.scope,
        "kind": found.kind,
        "state": found.state,
        "account_id": found.account_id,
        "account": found.account.name,
        "portfolio_id": found.portfolio_id,
        "portfolio": None if found.portfolio is None else found.portfolio.name,
        "code": found.code,
        "expected": found.expected,
        "actual": found.actual,
        "difference": found.actual - found.expected,
        "found_at": found.found_at,
        "seen_at": found.seen_at,
        "resolved_at": found.resolved_at,
        "acknowledged_by": found.acknowledged_by,
        "acknowledged_at": found.acknowledged_at,
    }


def _answered(broker: str, asked_at: datetime, begun: float) -> bool:
    """Whether an engine has compared, and confirmed what it found; False if none took notice."""
    pause = threading.Event()
    while (waited := time.monotonic() - begun) < _DONE_WITHIN:
        row = last(broker)
        begins = row.started_at is not None and row.started_at >= asked_at
        if begins and row.done_at is not None and row.started_at is not None and row.done_at >= row.started_at:
            if not row.suspected:
                return True
        elif not begins and waited > _NOTICED_WITHIN:
            return False
        pause.wait(_LOOK_EVERY)
    return False


def _take_over(broker: str, report: Report) -> None:
    row = last(broker)
    rows = Mismatch.objects.filter(account__broker=broker, state=MismatchState.OPEN)
    report.differences += [facts(each) for each in rows.select_related("portfolio", "account")]
    _add(broker, report, row.portfolios, row.accounts, row.skipped)
    if row.skipped:
        report.notes.append(
            f"{broker}: {row.skipped} portfolios and accounts could not be compared: see the engine's log"
        )


def _compare_here(broker: str, report: Report) -> None:
    first = look(broker, None)
    if first.found:
        threading.Event().wait(_APART)
    second = look(broker, None) if first.found else first
    now = datetime.now(UTC)
    report.differences += [_unsaved(key, second, now) for key in second.found if key in first.found]
    _add(broker, report, second.count("portfolio"), 0, len(second.skipped))
    report.notes.append(f"{broker}: no engine answers, so the broker was not asked and nothing is recorded")


def _add(broker: str, report: Report, portfolios: int, accounts: int, skipped: int) -> None:
    report.brokers.append({"broker": broker, "portfolios": portfolios, "accounts": accounts, "skipped": skipped})


def _unsaved(key: Key, made: Round, now: datetime) -> dict[str, Any]:
    about = made.about[key]
    expected, actual = amounts(made.found[key], about)
    return facts(
        Mismatch(
            scope=key.scope, kind=key.kind, state=MismatchState.OPEN, code=key.code, expected=expected, actual=actual,
            portfolio=Portfolio.objects.get(id=about.portfolio_id),
            account=Portfolio.objects.select_related("account").get(id=about.portfolio_id).account,
            found_at=now, seen_at=now,
        )
    )  # fmt: skip


def shown(found: Sequence[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Rows of a table: whose, what, expected, actual, since."""
    rows = []
    for each in found:
        whose = each["portfolio"] or f"{each['account']} (broker)"
        figures = (each["expected"], each["actual"])
        if each["kind"] == "position":
            figures = (f"{int(figures[0]):,}", f"{int(figures[1]):,}")
        rows.append((whose, each["code"] or "cash", *figures, each["found_at"]))
    return rows
