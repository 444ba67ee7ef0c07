"""Where each server is: given by the configuration, or else embedded and written in `$GINKGO_HOME/stack.json`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from ginkgo_site.config import Config

STACK_FILE = "stack.json"


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
    """The addresses as of now: the configuration's first, then the embedded stack's."""
    stack = read_stack(config.home)
    return Addresses(
        kafka=",".join(config.kafka.bootstrap_servers) or stack.get("kafka"),
        redis=given_redis(config) or stack.get("redis"),
        mongodb=given_mongodb(config) or stack.get("mongodb"),
        database=given_database(config) or f"sqlite:///{config.home / 'ginkgo.sqlite3'}",
        history=given_history(config) or f"sqlite:///{config.home / 'history.sqlite3'}",
        web=stack.get("web"),
        flower=stack.get("flower"),
    )


def read_stack(home: Path) -> dict[str, str]:
    """What the embedded stack of this home wrote, or nothing."""
    try:
        data = json.loads((home / STACK_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {key: value for key, value in data.items() if isinstance(value, str)} if isinstance(data, dict) else {}


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
