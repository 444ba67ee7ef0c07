"""One comparison of all of a broker's books, and what it changes among the differences that stand (SPEC M6)."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from itertools import groupby
from typing import NamedTuple

from market import reconciliation_books as books
from market.alerting import Alerter
from market.brokers.port import BrokerUnavailable
from market.engine.transactions import writing
from market.models import Mismatch
from market.models.reconciliation import MismatchState
from market.reconciliation import Gap, Key, Kind, Standing, Verdict, compare, judge
from portfolios.kernel.money import to_decimal, to_units

log = logging.getLogger(__name__)


class About(NamedTuple):
    """What a person is told about a difference beside its figures. `cash` is the portfolio's own, None at a broker;
    `pseq` the feedback up to which it was compared."""

    portfolio_id: str | None
    account_id: str
    name: str
    cash: int | None = None
    pseq: int | None = None


@dataclass
class Round:
    """What one comparison came to: `compared` and `skipped` are (scope, id) pairs; `away` why the broker was not
    asked."""

    found: dict[Key, Gap] = field(default_factory=dict)
    about: dict[Key, About] = field(default_factory=dict)
    compared: set[tuple[str, str]] = field(default_factory=set)
    skipped: set[tuple[str, str]] = field(default_factory=set)
    away: str = ""

    def count(self, scope: str) -> int:
        return sum(1 for each, _ in self.compared if each == scope)

    def _add(self, scope: str, owner: str, gaps: Iterable[Gap], about: About) -> None:
        self.compared.add((scope, owner))
        for gap in gaps:
            key = Key(scope, owner, gap.kind, gap.code)
            self.found[key], self.about[key] = gap, about


def look(name: str, broker: books.Asked | None) -> Round:
    """Compare all portfolios whose accounts are at the broker `name`; with `broker` None, without asking it.

    Raises django.db.Error.
    """
    made = Round()
    chosen = books.subjects(name)
    for pair in books.pairs(chosen):
        of = pair.subject
        about = About(of.portfolio_id, of.account_id, of.name, pair.cash, pair.pseq)
        made._add("portfolio", of.portfolio_id, compare(pair.expected, pair.actual), about)
    made.skipped |= {("portfolio", each.portfolio_id) for each in chosen} - made.compared
    for account_id, group in groupby(chosen, key=lambda each: each.account_id):
        _look_at_account(account_id, list(group), broker, made)
    return made


def _look_at_account(account_id: str, group: Sequence[books.Subject], broker: books.Asked | None, made: Round) -> None:
    if broker is None or made.away:
        made.skipped.add(("account", account_id))
        return
    try:
        sides = books.account(broker, group)
    except BrokerUnavailable as error:
        made.away = str(error) or "it does not answer"
        made.skipped.add(("account", account_id))
        return
    if sides is None:
        log.info("Account %s moved while it was compared with the broker's: the next time", group[0].account)
        made.skipped.add(("account", account_id))
        return
    made._add("account", account_id, compare(*sides), About(None, account_id, group[0].account))


def settle(name: str, made: Round, now: datetime, alerter: Alerter) -> int:
    """Write down what has become of the differences; how many are only suspected. Raises django.db.Error.

    Those that this comparison confirms are alerted before the commit: a crash in between repeats an alert and loses
    none.
    """
    with writing():
        rows = {
            _key(row): row
            for row in Mismatch.objects.select_for_update().filter(account__broker=name, standing__isnull=False)
        }
        verdict = judge({key: _standing(row) for key, row in rows.items()}, made.found, made.compared, now)
        _write(rows, verdict, made, now)
        for key in verdict.alerts:
            _alert(alerter, key, made.found[key], made.about[key], verdict.standing[key].since)
    for key in verdict.over:
        if rows[key].state == MismatchState.OPEN:
            log.info("The difference is gone: %s", _subject(key))
    return sum(1 for each in verdict.standing.values() if each.told is None)


def figures(gap: Gap, about: About) -> tuple[int, int]:
    """(expected, actual) as people know them: on margin, a portfolio's own cash, and what it should be."""
    if gap.kind is Kind.CASH and about.cash is not None:
        return about.cash - gap.size, about.cash
    return gap.expected, gap.actual


def amounts(gap: Gap, about: About) -> tuple[Decimal, Decimal]:
    """`figures` in currency, or volumes."""
    expected, actual = (_amount(gap.kind, each) for each in figures(gap, about))
    return expected, actual


def said(key: Key, gap: Gap, about: About) -> str:
    """The difference in one sentence."""
    expected, actual = (_shown(key.kind, each) for each in figures(gap, about))
    whose = "by its own books" if key.scope == "portfolio" else "by the broker's books"
    what = f"holds {actual} of {key.code}" if key.kind is Kind.POSITION else f"has {actual} in cash"
    return f"{key.scope.capitalize()} {about.name} {what} {whose}, {expected} by its fills and ledger"


def _write(rows: Mapping[Key, Mismatch], verdict: Verdict, made: Round, now: datetime) -> None:
    for key, standing in verdict.standing.items():
        if key not in made.found:
            continue
        row = rows.get(key) or _new(key, made.about[key], now)
        told = row.told
        gap, about = made.found[key], made.about[key]
        row.expected, row.actual = amounts(gap, about)
        row.pseq, row.seen_at = about.pseq, now
        row.told = None if standing.told is None else _amount(key.kind, standing.told)
        row.state = MismatchState.SUSPECTED if standing.told is None else MismatchState.OPEN
        if row.told != told:  # another size than was acknowledged
            row.acknowledged_by, row.acknowledged_at = "", None
        row.save()
    for key in verdict.over:
        row = rows[key]
        if row.state == MismatchState.SUSPECTED:
            row.delete()
            continue
        row.state, row.resolved_at, row.standing = MismatchState.RESOLVED, now, None
        row.save(update_fields=["state", "resolved_at", "standing"])


def _new(key: Key, about: About, now: datetime) -> Mismatch:
    return Mismatch(
        scope=key.scope,
        kind=key.kind,
        portfolio_id=about.portfolio_id,
        account_id=about.account_id,
        code=key.code,
        standing=_subject(key),
        found_at=now,
    )


def _alert(alerter: Alerter, key: Key, gap: Gap, about: About, since: datetime) -> None:
    expected, actual = amounts(gap, about)
    alerter.raise_alert(
        f"{key.kind}_mismatch",
        "critical",
        said(key, gap, about),
        scope=key.scope,
        portfolio_id=about.portfolio_id or "",
        account_id=about.account_id,
        code=key.code,
        expected=float(expected),
        actual=float(actual),
        since=since.isoformat(),
    )


def _key(row: Mismatch) -> Key:
    owner = row.portfolio_id if row.scope == "portfolio" else row.account_id
    return Key(row.scope, str(owner), Kind(row.kind), row.code)


def _subject(key: Key) -> str:
    return ":".join(key)


def _standing(row: Mismatch) -> Standing:
    kind = Kind(row.kind)
    told = None if row.told is None else _plain(kind, row.told)
    return Standing(row.found_at, _plain(kind, row.actual - row.expected), told)


def _amount(kind: Kind, value: int) -> Decimal:
    """Of a volume the number itself, of units the money."""
    return Decimal(value) if kind is Kind.POSITION else to_decimal(value)


def _plain(kind: Kind, value: Decimal) -> int:
    return int(value) if kind is Kind.POSITION else to_units(value)


def _shown(kind: Kind, value: int) -> str:
    return f"{value:,}" if kind is Kind.POSITION else f"{to_decimal(value):,.2f}"
