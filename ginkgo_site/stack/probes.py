"""Ask each server whether it is there: the one meaning of "ready", for embedded and given servers alike."""

from __future__ import annotations

import socket
from typing import Any
from urllib.parse import unquote, urlsplit

TIMEOUT = 2.0


def kafka(bootstrap: str, cluster_id: str | None = None) -> str | None:
    """None if a broker answers with its cluster's metadata and a controller, else why not."""
    from confluent_kafka import KafkaException
    from confluent_kafka.admin import AdminClient

    # Not worth a client, which would wait its whole time-out for a port where nobody listens yet.
    if (fault := _refused(bootstrap)) is not None:
        return fault
    # librdkafka prints a refused connection to stderr by itself; here it is an answer.
    settings = {"bootstrap.servers": bootstrap, "socket.timeout.ms": 2000, "log_level": 0, "error_cb": lambda _: None}
    try:
        metadata = AdminClient(settings).list_topics(timeout=TIMEOUT)
    except KafkaException as error:
        return str(error.args[0].str())
    if cluster_id is not None and metadata.cluster_id != cluster_id:
        return f"another Kafka cluster ({metadata.cluster_id}) answers there"
    return None if metadata.brokers and metadata.controller_id >= 0 else "no controller yet"


def redis(url: str, process_id: int | None = None) -> str | None:
    """None if it answers PING (and is the process `process_id`, if given), else why not."""
    import redis as client
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    connection = client.Redis.from_url(
        url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT, retry=Retry(NoBackoff(), 0)
    )
    try:
        connection.ping()
        if process_id is not None and (other := connection.info("server").get("process_id")) != process_id:
            return f"another server (process {other}) answers there"
    except client.RedisError as error:
        return _line(error)
    finally:
        connection.close()
    return None


def mongodb(url: str) -> str | None:
    """None if it answers ping, else why not."""
    import pymongo
    from pymongo.errors import PyMongoError

    client: pymongo.MongoClient[dict[str, Any]]
    wait_ms = int(TIMEOUT * 1000)
    try:
        with pymongo.MongoClient(
            url, serverSelectionTimeoutMS=wait_ms, connectTimeoutMS=wait_ms, socketTimeoutMS=wait_ms
        ) as client:
            client.admin.command("ping")
    except PyMongoError as error:
        return _line(error)
    return None


def mysql(url: str) -> str | None:
    """None if it lets us in and answers, else why not."""
    import pymysql

    parts = urlsplit(url)
    try:
        connection = pymysql.connect(
            host=parts.hostname or "",
            port=parts.port or 3306,
            user=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
            database=parts.path.lstrip("/"),
            connect_timeout=int(TIMEOUT),
            read_timeout=TIMEOUT,
        )
    except (pymysql.MySQLError, OSError) as error:
        return _line(error)
    try:
        connection.ping(reconnect=False)
    except pymysql.MySQLError as error:
        return _line(error)
    finally:
        connection.close()
    return None


def _refused(bootstrap: str) -> str | None:
    """Why none of the brokers can be reached at all, or None if one can."""
    fault: str | None = "no broker named"
    for broker in bootstrap.split(","):
        host, _, port = broker.strip().rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=TIMEOUT).close()
        except (OSError, ValueError) as error:
            fault = f"{broker}: {getattr(error, 'strerror', None) or error}"
        else:
            return None
    return fault


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).partition(" (configured timeouts")[0] or type(error).__name__
