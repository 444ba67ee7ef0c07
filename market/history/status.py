"""What there is to say about history: who writes it, its rows, how far behind it is, what waits in the spool."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from market import topic_admin
from market.bus import KafkaUnavailable
from market.history.intake import TOPICS
from market.history.reader import HistoryAway, Reader
from market.history.service import spool_folder
from market.history.spool import Contents, look, writer_of

TABLES = ("ticks", "bars", "equity", "positions", "orders", "fills")


def read() -> dict[str, Any]:
    """state (running | stopped), pid, address, server (up, or why not), rows by table, lag in messages of the log
    (None: Kafka does not say), spool. SpoolError if the spool cannot be read."""
    folder = spool_folder()
    contents, pid = look(folder), writer_of(folder)
    server, rows = _server()
    return {
        "state": "running" if pid else "stopped",
        "pid": pid or None,
        "address": _address(),
        "server": server,
        "rows": rows,
        "lag": _lag(contents),
        "spool": {
            "rows": contents.rows,
            "mb": round(contents.bytes / 1_048_576, 1),
            "max_mb": settings.GINKGO.history.spool_max_mb,
            "refused": contents.refused,
            "folder": str(folder),
        },
    }


def _server() -> tuple[str, dict[str, int] | None]:
    try:
        with Reader(timeout=5) as reader:
            return "up", {table: reader.count(table) for table in TABLES}
    except HistoryAway as error:
        return str(error), None


def _lag(contents: Contents) -> int | None:
    """Messages that are in the log and not yet in the spool or on the server."""
    try:
        topics = topic_admin.status().topics
    except KafkaUnavailable:
        return None
    lag = 0
    for topic in topics:
        if topic.name not in TOPICS:
            continue
        for partition, end in topic.end_offsets.items():
            known = contents.offsets.get((topic.name, partition))
            lag += end - (known.offset if known is not None and known.log_id == topic.topic_id else 0)
    return lag


def _address() -> str:
    address: str = settings.GINKGO_RESOLVE().history
    scheme, _, rest = address.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2]}"
