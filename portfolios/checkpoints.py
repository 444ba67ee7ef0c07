"""Reading and writing checkpoints: the one row that holds a portfolio's state and how far it has read (SPEC N6).

A write is conditional on the epoch: one that finds another epoch changes nothing and is reported as lost.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db import connection, transaction

from portfolios.models import Adjustment, Checkpoint, LedgerEntry, Revision
from portfolios.models.adjustment import AdjustmentState

Offsets = dict[str, dict[int, int]]
"""topic → partition → the next offset not yet decided."""


@dataclass(frozen=True)
class Save:
    """What one checkpoint holds. `ledger` are the rows that became true since the last one."""

    portfolio_id: str
    epoch: int
    state: bytes
    pseq: int
    offsets: Offsets
    topic_ids: dict[str, str]
    config_version: int
    incarnation: int
    ledger: tuple[LedgerEntry, ...] = field(default=())


@dataclass(frozen=True)
class Loaded:
    """A portfolio as a node finds it: what to run (`config`), and where its last owner left it (`state` … )."""

    portfolio_id: str
    name: str
    market: str
    initial_cash: Any
    desired_state: str
    version: int
    config: dict[str, Any]
    node_id: str
    epoch: int
    state: bytes
    pseq: int
    offsets: Offsets
    topic_ids: dict[str, str]
    checkpoint_version: int
    checkpoint_config: dict[str, Any] | None
    incarnation: int


def load(portfolio_id: str) -> Loaded | None:
    """Epoch, configuration and checkpoint as of one moment; None if there is no such portfolio."""
    # One statement, so one moment: under READ COMMITTED two of them could see two different owners.
    row = Checkpoint.objects.select_related("portfolio__assignment").filter(portfolio_id=portfolio_id).first()
    if row is None:
        return None
    portfolio, assignment = row.portfolio, row.portfolio.assignment
    old = None
    if row.state and row.config_version != portfolio.version:
        revision = Revision.objects.filter(portfolio_id=portfolio_id, version=row.config_version).first()
        old = revision.config if revision else None
    return Loaded(
        portfolio_id=portfolio.id,
        name=portfolio.name,
        market=portfolio.market,
        initial_cash=portfolio.initial_cash,
        desired_state=portfolio.desired_state,
        version=portfolio.version,
        config=portfolio.config,
        node_id=assignment.node_id,
        epoch=assignment.epoch,
        state=bytes(row.state),
        pseq=row.pseq,
        offsets={topic: {int(p): o for p, o in parts.items()} for topic, parts in row.offsets.items()},
        topic_ids=row.topic_ids,
        checkpoint_version=row.config_version,
        checkpoint_config=old,
        incarnation=row.incarnation,
    )


def parked(loaded: Loaded, market_topics: Iterable[str]) -> Save:
    """The checkpoint as it is, but for the market's offsets: it will go on at the live end (after a user's stop)."""
    left_out = frozenset(market_topics)
    return Save(
        portfolio_id=loaded.portfolio_id,
        epoch=loaded.epoch,
        state=loaded.state,
        pseq=loaded.pseq,
        offsets={topic: parts for topic, parts in loaded.offsets.items() if topic not in left_out},
        topic_ids=loaded.topic_ids,
        config_version=loaded.checkpoint_version,
        incarnation=loaded.incarnation,
    )


_COLUMNS = ("state", "pseq", "offsets", "topic_ids", "config_version", "incarnation", "saved_at")


def save(saves: Sequence[Save], now: datetime) -> set[str]:
    """Write all of them in one statement; the ids of those that were lost (their epoch is another's now).

    A lost one is left out whole, its ledger rows too; the rest commit, and the adjustments among their ledger rows
    are applied with them. Raises django.db.Error when the database is away.
    """
    if not saves:
        return set()
    ledger = [entry for s in saves for entry in s.ledger]
    if not ledger:
        return _update(saves, now)
    with transaction.atomic():
        lost = _update(saves, now)
        kept = [entry for entry in ledger if entry.portfolio_id not in lost]
        LedgerEntry.objects.bulk_create(kept, ignore_conflicts=True)
        adjusted = [entry.adjustment_id for entry in kept if entry.adjustment_id is not None]
        if adjusted:
            Adjustment.objects.filter(id__in=adjusted).update(state=AdjustmentState.APPLIED, settled_at=now)
    return lost


def _update(saves: Sequence[Save], now: datetime) -> set[str]:
    rows = [_values(s, now) for s in saves]
    table = Checkpoint._meta.db_table
    parameters: list[Any] = []
    if len(saves) == 1:
        assignments = ", ".join(f"{column} = %s" for column in _COLUMNS)
        parameters.extend(rows[0])
    else:
        case = f"CASE portfolio_id {'WHEN %s THEN %s ' * len(saves)}END"
        assignments = ", ".join(f"{column} = {case}" for column in _COLUMNS)
        for i in range(len(_COLUMNS)):
            for save_, row in zip(saves, rows, strict=True):
                parameters.extend((save_.portfolio_id, row[i]))
    where = " OR ".join(["(portfolio_id = %s AND epoch = %s)"] * len(saves))
    for s in saves:
        parameters.extend((s.portfolio_id, s.epoch))
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {table} SET {assignments} WHERE {where}", parameters)
        if cursor.rowcount == len(saves):
            return set()
    # Epochs only grow: one that reads as ours now was ours at the update, so what is not named here is committed.
    epochs = dict(
        Checkpoint.objects.filter(portfolio_id__in=[s.portfolio_id for s in saves]).values_list("portfolio_id", "epoch")
    )
    return {s.portfolio_id for s in saves if epochs.get(s.portfolio_id) != s.epoch}


def _values(s: Save, now: datetime) -> tuple[Any, ...]:
    return (
        s.state,
        s.pseq,
        json.dumps(s.offsets),
        json.dumps(s.topic_ids),
        s.config_version,
        s.incarnation,
        connection.ops.adapt_datetimefield_value(now),
    )
