"""Where each server is: given by the configuration, or else embedded and written in `$GINKGO_HOME/stack.json`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

from ginkgo_site.config import Config
from ginkgo_site.stack import record


@dataclass(frozen=True)
class Addresses:
    """Each as its clients take it; None: not given, and no embedded stack has said."""

    kafka: str | None
    redis: str | None
    mongodb: str | None
    database: str
    history: str
    web: str | None
    flower: str | None


def resolve(config: Config) -> Addresses:
    """The addresses as of now: the configuration's first, then the living embedded stack's."""
    known = {**read_stack(config.home), **given(config)}
    return Addresses(
        kafka=known.get("kafka"),
        redis=known.get("redis"),
        mongodb=known.get("mongodb"),
        database=known["database"],
        history=known["history"],
        web=known.get("web"),
        flower=known.get("flower"),
    )


def given(config: Config) -> dict[str, str]:
    """The addresses that need no stack: what the configuration gives, and the SQLite files of the home."""
    found = {
        "kafka": ",".join(config.kafka.bootstrap_servers) or None,
        "redis": given_redis(config),
        "mongodb": given_mongodb(config),
        "database": given_database(config) or f"sqlite:///{config.home / 'ginkgo.sqlite3'}",
        "history": given_history(config) or f"sqlite:///{config.home / 'history.sqlite3'}",
    }
    return {key: url for key, url in found.items() if url}


def read_stack(home: Path) -> dict[str, str]:
    """The addresses that the embedded stack of this home wrote; nothing if its supervisor is dead."""
    data = record.read(home)
    if not record.is_alive(data):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str) and value}


def without_secrets(urls: dict[str, str]) -> dict[str, str]:
    return {key: without_secret(url) for key, url in urls.items()}


def without_secret(url: str) -> str:
    """The URL without its password."""
    parts = urlsplit(url)
    if not parts.password:
        return url
    user, _, host = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    return parts._replace(netloc=f"{name}@{host}" if name else host).geturl()


def given_redis(config: Config) -> str | None:
    r = config.redis
    if r.host is None:
        return None
    return f"redis://{_login('', r.password.get_secret_value())}{r.host}:{r.port}/{r.db}"


def given_mongodb(config: Config) -> str | None:
    m = config.mongodb
    if m.host is None:
        return None
    return f"mongodb://{_login(m.user, m.password.get_secret_value())}{m.host}:{m.port}/{m.database}"


def given_database(config: Config) -> str | None:
    m = config.mysql
    if m.host is None:
        return None
    return f"mysql+pymysql://{_login(m.user, m.password.get_secret_value())}{m.host}:{m.port}/{m.database}"


def given_history(config: Config) -> str | None:
    c = config.clickhouse
    if c.host is None:
        return None
    return f"clickhouse+native://{_login(c.user, c.password.get_secret_value())}{c.host}:{c.port}/{c.database}"


def _login(user: str, password: str) -> str:
    if not user and not password:
        return ""
    return f"{quote(user, safe='')}:{quote(password, safe='')}@" if password else f"{quote(user, safe='')}@"
