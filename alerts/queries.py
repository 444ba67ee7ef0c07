"""Questions to the stored alerts: which, from when to when, how bad, from where, seen by whom."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from alerts.digest import SEVERITIES
from alerts.store import AlertStore, Document, millis, moment_of

DEFAULT_LIMIT = 100
MOST = 1000


@dataclass(frozen=True)
class Question:
    """Every condition must hold; None is no condition. `start` and `end` are inclusive.

    `portfolios`: only alerts about these (what a user who is not staff may see). `each`: every single alert; else the
    newest alert of each episode, with the episode's count and its first and last moment.
    """

    start: datetime | None = None
    end: datetime | None = None
    severity: str | None = None
    source: str | None = None
    alert_type: str | None = None
    portfolios: Sequence[str] | None = None
    episode: str | None = None
    limit: int = DEFAULT_LIMIT
    offset: int = 0
    each: bool = False


@dataclass(frozen=True)
class Answer:
    """The newest first; `total_count`: how many there are in all."""

    alerts: list[Document]
    total_count: int

    def as_dict(self) -> dict[str, Any]:
        return {"alerts": self.alerts, "total_count": self.total_count}


def ask(store: AlertStore, question: Question) -> Answer:
    """Raises StoreAway."""
    if question.each or question.episode is not None:
        return _alerts(store, question)
    # While an episode goes on, its newest alert may lie beyond the asked time: then the alerts themselves are grouped.
    return _episodes(store, question) if question.end is None else _grouped(store, question)


def one(store: AlertStore, alert_id: str, portfolios: Sequence[str] | None = None) -> Document | None:
    """The alert of this id, if it is there and may be seen. Raises StoreAway."""
    conditions = {"_id": alert_id} | _conditions(Question(portfolios=portfolios), "at")
    with store.collections() as (alerts, _):
        found = alerts.find_one(conditions)
    return None if found is None else _shown(found)


def by_severity(
    store: AlertStore, since: datetime, portfolios: Sequence[str] | None = None, each: bool = True
) -> dict[str, int]:
    """How many alerts, or episodes, of each severity there have been since. Raises StoreAway."""
    conditions = _conditions(Question(start=since, portfolios=portfolios), "at" if each else "last_at")
    with store.collections() as (alerts, episodes):
        asked = alerts if each else episodes
        found = asked.aggregate([{"$match": conditions}, {"$group": {"_id": "$severity", "count": {"$sum": 1}}}])
        counts = {one["_id"]: int(one["count"]) for one in found}
    return {severity: counts.get(severity, 0) for severity in SEVERITIES}


def _alerts(store: AlertStore, question: Question) -> Answer:
    conditions = _conditions(question, "at")
    with store.collections() as (alerts, _):
        page = alerts.find(conditions).sort([("at", -1), ("_id", -1)]).skip(question.offset).limit(question.limit)
        return Answer([_shown(found) for found in page], _count(alerts, conditions))


def _episodes(store: AlertStore, question: Question) -> Answer:
    conditions = _conditions(question, "last_at")
    with store.collections() as (_, episodes):
        page = episodes.find(conditions).sort([("last_at", -1), ("_id", -1)])
        found = list(page.skip(question.offset).limit(question.limit))
        return Answer([_shown(each) | _run(each) for each in found], _count(episodes, conditions))


def _grouped(store: AlertStore, question: Question) -> Answer:
    with store.collections() as (alerts, episodes):
        grouped = alerts.aggregate(
            [
                {"$match": _conditions(question, "at")},
                {"$group": {"_id": "$episode", "newest": {"$max": "$at"}}},
            ]
        )
        found = sorted(grouped, key=lambda each: (each["newest"], each["_id"]), reverse=True)
        page = found[question.offset : question.offset + question.limit]
        ids = [each["_id"] for each in page]
        runs = {each["_id"]: each for each in episodes.find({"_id": {"$in": ids}})}
        newest = {
            (each["episode"], each["at"]): each
            for each in alerts.find({"episode": {"$in": ids}, "at": {"$in": [each["newest"] for each in page]}})
        }
    faces = [newest.get((each["_id"], each["newest"])) for each in page]
    # None: it has expired meanwhile.
    shown = [_shown(face) | _run(runs.get(face["episode"], {})) for face in faces if face is not None]
    return Answer(shown, len(found))


def _conditions(question: Question, moment: str) -> Document:
    conditions: Document = {}
    window = {}
    if question.start is not None:
        window["$gte"] = millis(question.start)
    if question.end is not None:
        window["$lte"] = millis(question.end)
    if window:
        conditions[moment] = window
    for name in ("severity", "source", "alert_type", "episode"):
        value = getattr(question, name)
        if value is not None:
            conditions[name] = value
    if question.portfolios is not None:
        conditions["portfolio_id"] = {"$in": [each for each in question.portfolios if each]}
    return conditions


def _count(collection: Any, conditions: Document) -> int:
    # Not count_documents: on the embedded server that one looks at every document, a hundred times as slow.
    for each in collection.aggregate([{"$match": conditions}, {"$group": {"_id": None, "count": {"$sum": 1}}}]):
        return int(each["count"])
    return 0


def _shown(found: Document) -> Document:
    return {
        "alert_id": found.get("alert_id", found["_id"]),
        "alert_type": found["alert_type"],
        "severity": found["severity"],
        "source": found["source"],
        "message": found["message"],
        "details": found["details"],
        "timestamp": moment_of(found["at"] if "at" in found else found["last_at"]),
    } | ({"episode": found["episode"]} if "episode" in found else {})


def _run(episode: Document) -> Document:
    if not episode:
        return {}
    return {
        "episode": episode["_id"],
        "count": episode["count"],
        "first_seen": moment_of(episode["first_at"]),
        "last_seen": moment_of(episode["last_at"]),
    }
