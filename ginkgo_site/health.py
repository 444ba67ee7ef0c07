"""What each server says of itself when asked: the facts behind `ginkgo mysql|redis|mongo|clickhouse status`.

Each function talks to the server and returns plain facts, or raises ServerAway with one line that says what to do.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import redis
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from ginkgo_site.addresses import without_secret
from ginkgo_site.config import Config
from portfolios import livestate

_WAIT = 3
_START = "start it with 'ginkgo up' or 'ginkgo stack start'"


class ServerAway(Exception):
    """A server does not answer; the message says which, why, and what to do."""


def mysql() -> dict[str, Any]:
    """The database Django uses: MySQL, MariaDB, or SQLite where none is given. Sizes in MB, uptime in seconds."""
    config: Config = settings.GINKGO
    address = without_secret(settings.GINKGO_RESOLVE().database)
    if config.mysql.host is None:
        return _sqlite(address, "run 'ginkgo data init'")
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT VERSION(), DATABASE()")
            version, database = cursor.fetchone()
            cursor.execute(
                "SELECT COUNT(*), COALESCE(SUM(data_length + index_length), 0) / 1048576 "
                "FROM information_schema.tables WHERE table_schema = DATABASE()"
            )
            tables, size = cursor.fetchone()
            cursor.execute("SHOW GLOBAL STATUS WHERE Variable_name IN ('Uptime', 'Threads_connected')")
            numbers = {name.lower(): int(value) for name, value in cursor.fetchall()}
    except DatabaseError as error:
        raise ServerAway(f"MySQL at {config.mysql.host}:{config.mysql.port} does not answer: {_line(error)}") from None
    engine = "MariaDB" if "mariadb" in version.lower() else "MySQL"
    return {
        "address": address,
        "embedded": False,
        "engine": f"{engine} {version}",
        "database": database,
        "tables": int(tables),
        "size_mb": round(float(size), 1),
        "connections": numbers.get("threads_connected"),
        "uptime": numbers.get("uptime"),
    }


def redis_() -> dict[str, Any]:
    """Redis or Valkey: its memory and keys, and how many nodes' hearts beat in it."""
    address = settings.GINKGO_RESOLVE().redis
    try:
        client = livestate.client(timeout=_WAIT)
        info = client.info()
        keys = client.dbsize()
        hearts = sum(1 for _ in client.scan_iter(match=f"{livestate.heartbeat_key('')}*", count=1000))
    except (redis.RedisError, livestate.RedisUnavailable) as error:
        where = f" at {without_secret(address)}" if address else ""
        raise ServerAway(f"Redis{where} does not answer: {_line(error)}") from None
    name = "Valkey" if "valkey_version" in info else "Redis"
    return {
        "address": without_secret(address or ""),
        "embedded": settings.GINKGO.redis.host is None,
        "engine": f"{name} {info.get('valkey_version') or info.get('redis_version')}",
        "keys": keys,
        "nodes_alive": hearts,
        "memory_mb": round(int(info["used_memory"]) / 1_048_576, 1),
        "connections": int(info["connected_clients"]),
        "persistent": bool(info.get("aof_enabled")) or int(info.get("rdb_last_save_time", 0)) > 0,
        "uptime": int(info["uptime_in_seconds"]),
    }


def mongo() -> dict[str, Any]:
    """The MongoDB-protocol server that keeps alerts and notifications."""
    import pymongo
    from pymongo.errors import PyMongoError

    config: Config = settings.GINKGO
    address = settings.GINKGO_RESOLVE().mongodb
    if address is None:
        raise ServerAway(f"no MongoDB is configured and the embedded stack is not running: {_START}")
    wait = _WAIT * 1000
    client: pymongo.MongoClient[dict[str, Any]]
    try:
        with pymongo.MongoClient(
            address, serverSelectionTimeoutMS=wait, connectTimeoutMS=wait, socketTimeoutMS=wait
        ) as client:
            client.admin.command("ping")
            build = client.admin.command("buildInfo")
            collections = sorted(client[config.mongodb.database].list_collection_names())
    except PyMongoError as error:
        reason = _line(error).partition(" (configured timeouts")[0]
        raise ServerAway(f"MongoDB at {without_secret(address)} does not answer: {reason}") from None
    return {
        "address": without_secret(address),
        "embedded": config.mongodb.host is None,
        "engine": f"MongoDB protocol {build.get('version', 'of no version')}",
        "database": config.mongodb.database,
        "collections": collections,
    }


def clickhouse() -> dict[str, Any]:
    """Where history is kept: ClickHouse, or SQLite where none is given."""
    from clickhouse_driver import Client
    from clickhouse_driver.errors import Error as ClickHouseError

    config: Config = settings.GINKGO
    given = config.clickhouse
    address = without_secret(settings.GINKGO_RESOLVE().history)
    if given.host is None:
        return _sqlite(address, None)
    # It logs a refused connection with its traceback; here that is an answer.
    logging.getLogger("clickhouse_driver").setLevel(logging.CRITICAL)
    client = Client(
        given.host,
        port=given.port,
        user=given.user,
        password=given.password.get_secret_value(),
        connect_timeout=_WAIT,
        send_receive_timeout=_WAIT,
    )
    try:
        version, uptime = client.execute("SELECT version(), uptime()")[0]
        tables, size = client.execute(
            "SELECT count(), coalesce(sum(total_bytes), 0) / 1048576 FROM system.tables WHERE database = %(name)s",
            {"name": given.database},
        )[0]
    except (ClickHouseError, OSError, EOFError) as error:
        hint = " (8123 is its HTTP port; the native one is usually 9000)" if given.port == 8123 else ""
        raise ServerAway(f"ClickHouse at {given.host}:{given.port} does not answer{hint}: {_line(error)}") from None
    finally:
        client.disconnect()
    return {
        "address": address,
        "embedded": False,
        "engine": f"ClickHouse {version}",
        "database": given.database,
        "tables": int(tables),
        "size_mb": round(float(size), 1),
        "uptime": int(uptime),
    }


def _sqlite(address: str, if_missing: str | None) -> dict[str, Any]:
    """The facts of a SQLite file, read without creating it. `if_missing`: what to do, where its absence is a fault."""
    import sqlite3

    path = Path(address.removeprefix("sqlite:///"))
    facts: Mapping[str, Any] = {"tables": 0, "size_mb": 0.0}
    if path.is_file():
        try:
            with sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=_WAIT) as database:
                (tables,) = database.execute("SELECT count(*) FROM sqlite_master WHERE type = 'table'").fetchone()
        except sqlite3.Error as error:
            raise ServerAway(f"{path} cannot be read: {error}") from None
        finally:
            database.close()
        if not tables and if_missing is not None:
            raise ServerAway(f"{path} is empty: {if_missing}")
        facts = {"tables": tables, "size_mb": round(path.stat().st_size / 1_048_576, 1)}
    elif if_missing is not None:
        raise ServerAway(f"{path} is not there yet: {if_missing}")
    return {"address": address, "embedded": True, "engine": f"SQLite {sqlite3.sqlite_version}", **facts}


def _line(error: Exception) -> str:
    """An error in one line; PyMySQL's carry a number and a text."""
    text = str(error.args[1]) if len(error.args) == 2 and isinstance(error.args[0], int) else str(error)
    return " ".join(text.split()) or type(error).__name__
