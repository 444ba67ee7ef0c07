"""The configuration's shape: each section frozen, typed and strict, each setting with its unit and default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, model_validator

from market.topics import TOPICS
from portfolios.kernel.rules import COMMISSION_RATES

PROJECT = Path(__file__).resolve().parent.parent


def _absolute(value: Any) -> Any:
    """`~` is the user's home; a relative path would mean another place to each process."""
    if not isinstance(value, str):
        return value
    path = Path(value).expanduser()
    if not path.is_absolute():
        raise ValueError("must be an absolute path")
    return path


def _several(value: Any) -> Any:
    """A list, or one text with commas."""
    if isinstance(value, str):
        value = value.split(",")
    if not isinstance(value, list):
        return value
    return tuple(item.strip() if isinstance(item, str) else item for item in value if item != "")


def _known_topics(value: Any) -> Any:
    names = {topic.name for topic in TOPICS}
    unknown = sorted(set(map(str, value)) - names) if isinstance(value, Mapping) else []
    if unknown:
        raise ValueError(f"unknown topic {', '.join(unknown)}; there are {', '.join(sorted(names))}")
    return value


Directory = Annotated[Path, BeforeValidator(_absolute)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
# A server is given if and only if its address is set; an empty one is not.
Host = Annotated[str | None, BeforeValidator(lambda value: value or None)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class MySQL(_Section):
    """MySQL 8+ or MariaDB; embedded: SQLite."""

    host: Host = None
    port: int = Field(3306, ge=1, le=65535)
    user: str = "ginkgo"
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class ClickHouse(_Section):
    """History; embedded: SQLite. The port is the native protocol's."""

    host: Host = None
    port: int = Field(9000, ge=1, le=65535)
    user: str = "default"
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class Redis(_Section):
    """Heartbeats, live status, Celery's broker; embedded: Valkey."""

    host: Host = None
    port: int = Field(6379, ge=1, le=65535)
    db: int = Field(0, ge=0)
    password: SecretStr = SecretStr("")


class MongoDB(_Section):
    """Alerts and notifications; embedded: a MongoDB-protocol server."""

    host: Host = None
    port: int = Field(27017, ge=1, le=65535)
    user: str = ""
    password: SecretStr = SecretStr("")
    database: str = "ginkgo"


class Topic(_Section):
    partitions: int | None = Field(None, ge=1)
    replication_factor: int | None = Field(None, ge=1)


class Kafka(_Section):
    """Apache Kafka 3.x/4.x; embedded: Apache Kafka itself."""

    bootstrap_servers: Texts = ()
    group_id: str = "ginkgo"
    auto_offset_reset: Literal["earliest", "latest", "error"] = "error"
    enable_auto_commit: Literal[False] = False
    partition_pruning: bool = True
    topics: Annotated[dict[str, Topic], BeforeValidator(_known_topics)] = {}


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
    cache: Directory | None = None


class Web(_Section):
    """The admin and the API. A port of None: 8000 (Flower 5555) if free, else any free one."""

    host: str = "127.0.0.1"
    port: int | None = Field(None, ge=1, le=65535)
    flower_port: int | None = Field(None, ge=1, le=65535)
    workers: int = Field(1, ge=1)
    allowed_hosts: Texts = ("127.0.0.1", "localhost")
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

    @model_validator(mode="after")
    def _outlives_its_interval(self) -> Node:
        if self.heartbeat_ttl <= self.heartbeat_interval:
            raise ValueError("heartbeat_ttl must be longer than heartbeat_interval")
        return self


class Scheduler(_Section):
    """The scheduler. Times in seconds; they seed the beat's intervals, the admin's edits win afterwards."""

    schedule_interval: float = Field(30.0, gt=0)
    heartbeat_check_interval: float = Field(5.0, gt=0)
    lease: float = Field(20.0, gt=0)
    max_moves_per_tick: int = Field(5, ge=0)
    imbalance_threshold: int = Field(1, ge=1)
    move_timeout: float = Field(30.0, gt=0)


class Engine(_Section):
    """The order engine and its pre-trade checks. Times in seconds, money in the portfolio's currency."""

    broker: str = "simulation"
    switch_interval: float = Field(0.2, gt=0)
    max_orders_per_minute: int = Field(600, ge=1)
    max_order_value: float = Field(10_000_000.0, gt=0)
    max_daily_turnover: float = Field(1_000_000_000.0, gt=0)
    max_order_age: float | None = Field(None, gt=0)


def _rate(value: Any) -> Any:
    if isinstance(value, str) and not re.fullmatch(r"[1-9][0-9]{0,8}/(s|min|h|d)", value):
        raise ValueError("must be a number of requests per s, min, h or d, such as 600/min")
    return value


def _module(value: Any) -> Any:
    """Beginnings of dotted paths. An empty one would allow everything."""
    paths = _several(value)
    for path in paths if isinstance(paths, tuple) else ():
        if not isinstance(path, str) or not all(part.isidentifier() for part in path.split(".")):
            raise ValueError(f"must be names of modules, such as my_desk.strategies, got {path!r}")
    return paths


Rate = Annotated[str, BeforeValidator(_rate)]


class Api(_Section):
    """The REST API. Lifetimes in seconds; rates are requests of one user (`login_rate`: of one address).

    `components`: modules whose strategies, risk rules and sizers may be named through the API beside the built-in and
    the installed ones. A component is code that is run: list only what you would run.
    """

    access_token_lifetime: float = Field(900.0, gt=0)
    refresh_token_lifetime: float = Field(86_400.0, gt=0)
    read_rate: Rate = "1200/min"
    trade_rate: Rate = "120/min"
    operate_rate: Rate = "60/min"
    login_rate: Rate = "20/min"
    components: Annotated[tuple[str, ...], BeforeValidator(_module)] = ()


class Feed(_Section):
    """The feed of `ginkgo up`: `speed` in trading days per second for the sample."""

    source: Literal["sample", "simulation", "none"] = "sample"
    speed: float = Field(1.0, gt=0)
    seed: int = 7


class History(_Section):
    """What is recorded. Times in seconds unless said otherwise; days count from when a row was recorded.

    Rows go to the server in batches, through a spool on this machine's disk of at most `spool_max_mb` MB (None as
    `spool`: `$GINKGO_HOME/history`). Beyond 80 % of it there is an alert; when it is full the log is not read on.
    `warm_up`: nodes show strategies the past at a first start and under a new configuration.
    """

    batch_rows: int = Field(100, ge=1)
    batch_seconds: float = Field(10.0, gt=0)
    sample_interval: float = Field(1.0, gt=0)
    spool: Directory | None = None
    spool_max_mb: int = Field(1024, ge=1)
    ticks_days: int = Field(90, ge=1)
    bars_days: int = Field(3650, ge=1)
    books_days: int = Field(3650, ge=1)
    warm_up: bool = True


class Config(_Section):
    """All of it. `home` holds the embedded servers' data and the generated secrets."""

    home: Directory = PROJECT / ".ginkgo"
    mysql: MySQL = MySQL()
    clickhouse: ClickHouse = ClickHouse()
    redis: Redis = Redis()
    mongodb: MongoDB = MongoDB()
    kafka: Kafka = Kafka()
    embedded: Embedded = Embedded()
    web: Web = Web()
    api: Api = Api()
    node: Node = Node()
    scheduler: Scheduler = Scheduler()
    engine: Engine = Engine()
    feed: Feed = Feed()
    history: History = History()
    # Free in form, and full of other people's tokens: never in a repr.
    sources: dict[str, dict[str, Any]] = Field({}, repr=False)
    brokers: dict[str, dict[str, Any]] = Field(
        {"simulation": {"type": "simulation", "commission_rate": {**COMMISSION_RATES}, "slippage_rate": 0.001}},
        repr=False,
    )
