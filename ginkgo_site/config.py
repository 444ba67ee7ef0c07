"""The configuration: one frozen, typed, strict object, and where each of its values came from (SPEC section 2).

Defaults < `~/.ginkgo/config.yaml` (and `data_sources.yml`, `brokers.yml`) < environment `GINKGO_REDIS__HOST` < command
line. A server is *given* if and only if its address is set; else it is embedded. An unknown key or a wrong type is a
`ConfigurationError` that names the key and the file.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError

PROJECT = Path(__file__).resolve().parent.parent
_PREFIX = "GINKGO_"
_NOT_CONFIGURATION = {"GINKGO_HOME", "GINKGO_CONFIG_DIR", "GINKGO_OVERRIDES", "GINKGO_TEST_SERVERS"}
MASK = "********"


class ConfigurationError(Exception):
    """The configuration cannot be used; the message names each key, its source and what is wrong with it."""


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class MySQL(_Section):
    """MySQL 8+ or MariaDB; embedded: SQLite."""

    host: str | None = None
    port: int = Field(3306, ge=1, le=65535)
    user: str = "ginkgo"
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class ClickHouse(_Section):
    """History; embedded: SQLite. The port is the native protocol's."""

    host: str | None = None
    port: int = Field(9000, ge=1, le=65535)
    user: str = "default"
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class Redis(_Section):
    """Heartbeats, live status, Celery's broker; embedded: Valkey."""

    host: str | None = None
    port: int = Field(6379, ge=1, le=65535)
    db: int = Field(0, ge=0)
    password: SecretStr = SecretStr("")


class MongoDB(_Section):
    """Alerts and notifications; embedded: a MongoDB-protocol server."""

    host: str | None = None
    port: int = Field(27017, ge=1, le=65535)
    user: str = ""
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class Topic(_Section):
    partitions: int | None = Field(None, ge=1)
    replication_factor: int | None = Field(None, ge=1)


class Kafka(_Section):
    """Apache Kafka 3.x/4.x; embedded: Apache Kafka itself."""

    bootstrap_servers: tuple[str, ...] = ()
    group_id: str = "ginkgo"
    auto_offset_reset: Literal["earliest", "latest", "error"] = "error"
    enable_auto_commit: Literal[False] = False
    partition_pruning: bool = True
    topics: dict[str, Topic] = {}


class Embedded(_Section):
    """The embedded servers. Memory in MB, times in seconds.

    `cache` is where the downloaded Kafka is kept for all homes of this user; None: `~/.cache/ginkgo`.
    """

    kafka_version: str = "4.1.0"
    kafka_heap_mb: int = Field(512, ge=256)
    kafka_session_timeout: float = Field(3.0, gt=0)
    start_timeout: float = Field(60.0, gt=0)
    stop_timeout: float = Field(45.0, gt=0)
    maven_repository: str = "https://repo.maven.apache.org/maven2"
    cache: Path | None = None


class Web(_Section):
    """The admin and the API. A port of None: 8000 (Flower 5555) if free, else any free one."""

    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=1, le=65535)
    flower_port: int | None = Field(None, ge=1, le=65535)
    workers: int = Field(1, ge=1)
    allowed_hosts: tuple[str, ...] = ("127.0.0.1", "localhost")
    debug: bool = False
    secret_key: SecretStr | None = None


class Node(_Section):
    """A node. Times in seconds, sizes in events unless said otherwise."""

    heartbeat_interval: float = Field(10.0, gt=0)
    heartbeat_ttl: float = Field(30.0, gt=0)
    max_portfolios: int = Field(5, ge=1)
    max_queue_size: int = Field(1000, ge=10)
    checkpoint_interval: float = Field(5.0, gt=0)
    reconcile_interval: float = Field(5.0, gt=0)
    resend_interval: float = Field(10.0, gt=0)
    interest_interval: float = Field(60.0, gt=0)
    stop_timeout: float = Field(30.0, gt=0)
    fetch_wait_ms: int = Field(10, ge=1)
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"


class Scheduler(_Section):
    """The scheduler. Times in seconds; they seed the beat's intervals, the admin's edits win afterwards."""

    schedule_interval: float = Field(30.0, gt=0)
    heartbeat_check_interval: float = Field(5.0, gt=0)
    lease: float = Field(20.0, gt=0)
    max_moves_per_tick: int = Field(5, ge=0)
    imbalance_threshold: int = Field(2, ge=1)
    move_timeout: float = Field(30.0, gt=0)


class Engine(_Section):
    """The order engine and its pre-trade checks. Times in seconds, money in the portfolio's currency."""

    broker: str = "simulation"
    switch_interval: float = Field(0.2, gt=0)
    max_orders_per_minute: int = Field(600, ge=1)
    max_order_value: float = Field(10_000_000.0, gt=0)
    max_daily_turnover: float = Field(1_000_000_000.0, gt=0)
    max_order_age: float | None = Field(None, gt=0)


class Feed(_Section):
    """The feed of `ginkgo up`: `speed` in trading days per second for the sample."""

    source: Literal["sample", "simulation", "none"] = "sample"
    speed: float = Field(1.0, gt=0)
    seed: int = 7


class Config(_Section):
    """All of it. `home` holds the embedded servers' data and the generated secrets."""

    home: Path = PROJECT / ".ginkgo"
    mysql: MySQL = MySQL()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    mongodb: MongoDB = MongoDB()
    kafka: Kafka = Kafka()
    embedded: Embedded = Embedded()
    web: Web = Web()
    node: Node = Node()
    scheduler: Scheduler = Scheduler()
    engine: Engine = Engine()
    feed: Feed = Feed()
    sources: dict[str, dict[str, Any]] = {}
    brokers: dict[str, dict[str, Any]] = {
        "simulation": {"type": "simulation", "commission_rate": 0.0003, "slippage_rate": 0.001}
    }


def load(
    overrides: Mapping[str, Any] | None = None, environ: Mapping[str, str] = os.environ
) -> tuple[Config, dict[str, str]]:
    """The configuration and, for each dotted key that is not a default, its source.

    `overrides` are dotted keys from the command line (`{"redis.host": "db1"}`). Raises ConfigurationError with all
    """
    merged: dict[str, Any] = {}
    origin: dict[str, str] = {}
    folder = Path(environ.get("GINKGO_CONFIG_DIR") or Path.home() / ".ginkgo")
    for name in ("config.yaml", "data_sources.yml", "brokers.yml"):
        path = folder / name
        if path.is_file():
            _merge(merged, _read_yaml(path), str(path), origin)
    for variable, text in sorted(environ.items()):
        if variable.startswith(_PREFIX) and variable not in _NOT_CONFIGURATION:
            keys = variable.removeprefix(_PREFIX).lower().split("__")
            _put(merged, keys, _scalar(text), f"environment {variable}", origin)
    if home := environ.get("GINKGO_HOME"):
        _put(merged, ["home"], str(Path(home).expanduser().resolve()), "environment GINKGO_HOME", origin)
    if inherited := environ.get("GINKGO_OVERRIDES"):
        overrides = {**yaml.safe_load(inherited), **(overrides or {})}
    for key, value in (overrides or {}).items():
        _put(merged, key.split("."), value, "command line", origin)
    try:
        return Config.model_validate(merged), origin
    except ValidationError as error:
        raise ConfigurationError("; ".join(_fault(dict(e), origin) for e in error.errors())) from None


def rows(config: Config, origin: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """(key, value, source) of every setting, secrets masked."""
    return [(key, value, origin.get(key, "default")) for key, value in _flatten("", config)]


def _flatten(prefix: str, value: Any) -> list[tuple[str, str]]:
    if isinstance(value, BaseModel):
        return [row for name in type(value).model_fields for row in _flatten(f"{prefix}{name}.", getattr(value, name))]
    key = prefix.removesuffix(".")
    if isinstance(value, dict) and value:
        return [row for name, item in value.items() for row in _flatten(f"{prefix}{name}.", item)]
    if isinstance(value, SecretStr):
        return [(key, MASK if value.get_secret_value() else "")]
    if value and any(word in key.rpartition(".")[2].lower() for word in ("token", "secret", "password", "api_key")):
        return [(key, MASK)]
    if isinstance(value, tuple):
        return [(key, ", ".join(map(str, value)))]
    return [(key, "" if value is None else str(value))]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        where = getattr(error, "problem_mark", None)
        raise ConfigurationError(f"{path}{f', line {where.line + 1}' if where else ''}: not readable as YAML") from None
    if not isinstance(data, dict):
        raise ConfigurationError(f"{path}: must hold sections (a mapping), not {type(data).__name__}")
    return data


def _merge(
    target: dict[str, Any], data: Mapping[str, Any], source: str, origin: dict[str, str], prefix: tuple[str, ...] = ()
) -> None:
    for key, value in data.items():
        path = (*prefix, str(key))
        if isinstance(value, Mapping) and value:
            _merge(target, value, source, origin, path)
        else:
            _put(target, list(path), value, source, origin)


def _put(target: dict[str, Any], keys: list[str], value: Any, source: str, origin: dict[str, str]) -> None:
    for key in keys[:-1]:
        inner = target.setdefault(key, {})
        if not isinstance(inner, dict):
            inner = target[key] = {}
        target = inner
    target[keys[-1]] = value
    origin[".".join(keys)] = source


def _scalar(text: str) -> Any:
    """An environment value as YAML would read it, so that numbers, booleans and lists need no special case."""
    try:
        return yaml.safe_load(text) if text else text
    except yaml.YAMLError:
        return text


def _fault(error: dict[str, Any], origin: Mapping[str, str]) -> str:
    path = ".".join(map(str, error["loc"]))
    source = origin.get(path) or next(
        (s for k, s in origin.items() if k.startswith(f"{path}.") or path.startswith(f"{k}.")), "configuration"
    )
    if error["type"] == "extra_forbidden":
        return f"{path}: unknown key ({source})"
    return f"{path}: {error['msg'][0].lower()}{error['msg'][1:]} ({source})"
