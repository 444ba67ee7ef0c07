"""Alerts in MongoDB: every alert once, and one *episode* for what keeps coming.

`alerts` holds each alert under its alert_id, so what is read from the log twice is stored once. `episodes` holds one
document for each run of alerts of the same type, source, severity and portfolio without a pause of ten minutes: their
count, the first and the last moment, and the newest alert. Both expire seven days after they were last written (a TTL
index each). Times are kept as dates for people and as milliseconds for questions, which every server compares alike.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import msgspec
from django.conf import settings

from alerts.digest import portfolio_of
from alerts.errors import StoreAway
from market.messages import Alert

if TYPE_CHECKING:
    from pymongo import MongoClient
    from pymongo.collection import Collection

log = logging.getLogger(__name__)

KEPT = 7 * 24 * 3600
"""Seconds that an alert is kept."""
PAUSE_MS = 10 * 60 * 1000
"""An alert that comes later than this after the last of its kind begins a new episode."""
_DUPLICATE = 11000
_DEPTH = 50

Document = dict[str, Any]


class AlertStore:
    """One connection to MongoDB, made when first needed and again when the address changes. Thread-safe.

    Whatever fails is StoreAway, in one line, after `wait` seconds of silence at most.
    """

    def __init__(self, wait: float = 3.0) -> None:
        self._wait_ms = int(wait * 1000)
        self._lock = threading.Lock()
        self._client: MongoClient[Document] | None = None
        self._address = ""
        self._prepared = False

    def add(self, alerts: Sequence[Alert], now: datetime) -> int:
        """Store what is not stored yet; how many those were. Repeating it, after a failure too, changes nothing."""
        newest = {alert.alert_id: alert for alert in alerts}
        if not newest:
            return 0
        with self.collections() as (stored, episodes):
            known = {
                found["_id"]: found["episode"]
                for found in stored.find({"_id": {"$in": list(newest)}}, {"_id": 1, "episode": 1})
            }
            fresh = [alert for alert_id, alert in newest.items() if alert_id not in known]
            touched = _assign(fresh, _latest(episodes, {_kind(alert) for alert in fresh}))
            # Episodes, alerts, counts. An alert without its episode would be in no list, and a count goes up only when
            # its alerts are in; cut off anywhere, the repetition finds what is there and counts that anew.
            _write(episodes, touched, now)
            documents = [document_of(alert, each["_id"], now) for each in touched for alert in each["arrived"]]
            alone = _insert(stored, documents)
            if known or not alone:
                _recount(stored, episodes, {*known.values(), *(each["_id"] for each in touched)})
            else:
                _count(episodes, touched)
        return len(fresh)

    def place(self, name: str) -> tuple[str, dict[int, int]]:
        """(log, next offset of each partition) that reader `name` has kept; an empty log where it has kept none."""
        with self._database() as database:
            kept = database["places"].find_one({"_id": name}) or {}
        return str(kept.get("log", "")), {int(p): int(offset) for p, offset in kept.get("offsets", {}).items()}

    def keep_place(self, name: str, log_id: str, offsets: Mapping[int, int]) -> None:
        kept = {"log": log_id, "offsets": {str(p): offset for p, offset in offsets.items()}}
        with self._database() as database:
            database["places"].update_one({"_id": name}, {"$set": kept}, upsert=True)

    @contextmanager
    def collections(self) -> Iterator[tuple[Collection[Document], Collection[Document]]]:
        """(alerts, episodes), with their indexes."""
        with self._database() as database:
            if not self._prepared:
                _prepare(database["alerts"], database["episodes"])
                self._prepared = True
            yield database["alerts"], database["episodes"]

    def close(self) -> None:
        with self._lock:
            client, self._client = self._client, None
        if client is not None:
            client.close()

    @contextmanager
    def _database(self) -> Iterator[Any]:
        from pymongo.errors import PyMongoError

        address = settings.GINKGO_RESOLVE().mongodb
        if address is None:
            raise StoreAway(
                "no MongoDB is configured and the embedded stack is not running: start it with 'ginkgo stack start'"
            )
        try:
            yield self._connected(address)[settings.GINKGO.mongodb.database]
        except PyMongoError as error:
            reason = " ".join(str(error).split()).partition(" (configured timeouts")[0]
            raise StoreAway(f"MongoDB does not answer: {reason[:300]}") from None

    def _connected(self, address: str) -> MongoClient[Document]:
        from pymongo import MongoClient

        with self._lock:
            if self._client is None or address != self._address:
                if self._client is not None:
                    self._client.close()
                self._address, self._prepared = address, False
                self._client = MongoClient(
                    address,
                    appname="ginkgo-alerts",
                    serverSelectionTimeoutMS=self._wait_ms,
                    connectTimeoutMS=self._wait_ms,
                    # A storm's batch on a slow disk is slow; a server that is silent for longer is away.
                    socketTimeoutMS=5 * self._wait_ms,
                )
            return self._client


def document_of(alert: Alert, episode: str, now: datetime) -> Document:
    """An alert as it is stored."""
    portfolio = portfolio_of(alert)
    return {
        "_id": alert.alert_id,
        "alert_type": alert.alert_type,
        "severity": alert.severity,
        "source": alert.source,
        "message": alert.message,
        "details": alert.details if _storable(alert.details) else {"json": msgspec.json.encode(alert.details).decode()},
        "portfolio_id": portfolio,
        "timestamp": alert.timestamp,
        "at": millis(alert.timestamp),
        "episode": episode,
        "received_at": now,
    }


def millis(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def moment_of(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC)


def _kind(alert: Alert) -> str:
    return "\n".join((alert.alert_type, alert.source, alert.severity, portfolio_of(alert)))


def _prepare(alerts: Collection[Document], episodes: Collection[Document]) -> None:
    from pymongo import ASCENDING, DESCENDING, IndexModel

    alerts.create_indexes(
        [
            IndexModel([("received_at", ASCENDING)], name="expiry", expireAfterSeconds=KEPT),
            IndexModel([("at", DESCENDING)], name="newest"),
            IndexModel([("episode", ASCENDING), ("at", DESCENDING)], name="of_episode"),
        ]
    )
    episodes.create_indexes(
        [
            IndexModel([("received_at", ASCENDING)], name="expiry", expireAfterSeconds=KEPT),
            IndexModel([("last_at", DESCENDING)], name="newest"),
            IndexModel([("kind", ASCENDING), ("last_at", DESCENDING)], name="of_kind"),
        ]
    )


def _latest(episodes: Collection[Document], kinds: set[str]) -> dict[str, Document]:
    """The last episode of each kind, if it has had one."""
    found: dict[str, Document] = {}
    for episode in episodes.find({"kind": {"$in": list(kinds)}}) if kinds else ():
        if episode["kind"] not in found or episode["last_at"] > found[episode["kind"]]["last_at"]:
            found[episode["kind"]] = episode
    return found


def _assign(alerts: Sequence[Alert], latest: dict[str, Document]) -> list[Document]:
    """The episodes that `alerts` belong to, brought up to date, each with the alerts that have `arrived` in it."""
    current = dict(latest)
    touched: dict[str, Document] = {}
    for alert in sorted(alerts, key=lambda alert: alert.timestamp):
        kind, at = _kind(alert), millis(alert.timestamp)
        episode = current.get(kind)
        if episode is None or at > episode["last_at"] + PAUSE_MS:
            episode = {"_id": alert.alert_id, "kind": kind, "first_at": at, "last_at": at}
        arrived = touched.setdefault(episode["_id"], {**episode, "arrived": []})
        current[kind] = arrived
        arrived["arrived"].append(alert)
        arrived["first_at"] = min(arrived["first_at"], at)
        if at >= arrived["last_at"]:
            arrived["last_at"], arrived["newest"] = at, alert
    return list(touched.values())


def _write(episodes: Collection[Document], touched: Sequence[Document], now: datetime) -> None:
    from pymongo import UpdateOne

    updates = []
    for episode in touched:
        values = {name: episode[name] for name in ("kind", "first_at", "last_at")} | {"received_at": now}
        if "newest" in episode:
            values |= _face(episode["newest"])
        change = {"$set": values, "$setOnInsert": {"count": 0}}
        updates.append(UpdateOne({"_id": episode["_id"]}, change, upsert=True))
    if updates:
        episodes.bulk_write(updates, ordered=False)


def _face(alert: Alert) -> Document:
    """What an episode shows: its newest alert."""
    document = document_of(alert, "", alert.timestamp)
    shown = ("alert_type", "severity", "source", "message", "details", "portfolio_id", "timestamp")
    return {"alert_id": alert.alert_id, **{name: document[name] for name in shown}}


def _insert(stored: Collection[Document], documents: Sequence[Document]) -> bool:
    """Insert what is not there yet. False if another process has stored some of it meanwhile."""
    from pymongo.errors import BulkWriteError

    try:
        if documents:
            stored.insert_many(documents, ordered=False)
    except BulkWriteError as error:
        if any(fault["code"] != _DUPLICATE for fault in error.details["writeErrors"]):
            raise
        return False
    return True


def _count(episodes: Collection[Document], touched: Sequence[Document]) -> None:
    from pymongo import UpdateOne

    updates = [UpdateOne({"_id": each["_id"]}, {"$inc": {"count": len(each["arrived"])}}) for each in touched]
    if updates:
        episodes.bulk_write(updates, ordered=False)


def _recount(stored: Collection[Document], episodes: Collection[Document], ids: set[str]) -> None:
    from pymongo import UpdateOne

    found = stored.aggregate(
        [{"$match": {"episode": {"$in": list(ids)}}}, {"$group": {"_id": "$episode", "count": {"$sum": 1}}}]
    )
    updates = [UpdateOne({"_id": each["_id"]}, {"$set": {"count": each["count"]}}) for each in found]
    if updates:
        episodes.bulk_write(updates, ordered=False)


def _storable(value: Any, depth: int = _DEPTH) -> bool:
    """Whether MongoDB from 4.4 on takes it as it is: no name with a dollar or a dot, no giant number, not deep."""
    if isinstance(value, dict):
        named = all("." not in key and "\0" not in key and not key.startswith("$") for key in value)
        return depth > 0 and named and all(_storable(each, depth - 1) for each in value.values())
    if isinstance(value, list):
        return depth > 0 and all(_storable(each, depth - 1) for each in value)
    return not isinstance(value, int) or -(2**63) <= value < 2**63
