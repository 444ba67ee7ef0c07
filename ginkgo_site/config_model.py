"""The configuration's shape: each section frozen, typed and strict, each setting with its unit and default."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

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


_LOOPBACK = ("127.0.0.1", "::1", "localhost")
_MAKE_KEY = "'openssl rand -hex 32'"


def _public_url(value: Any) -> Any:
    """Scheme and host, perhaps a port: the site is at its root."""
    if not isinstance(value, str) or not value:
        return value or None
    parts = urlsplit(value.rstrip("/"))
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username or parts.path or parts.query:
        raise ValueError("must be like https://ginkgo.example.com")
    return parts.geturl()


Directory = Annotated[Path, BeforeValidator(_absolute)]
Texts = Annotated[tuple[str, ...], BeforeValidator(_several)]
# A server is given if and only if its address is set; an empty one is not.
Host = Annotated[str | None, BeforeValidator(lambda value: value or None)]


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, hide_input_in_errors=True)


class MySQL(_Section):
    """MySQL 8+ or MariaDB; embedded: SQLite."""

    host: Host = None
    """Where it is; without one, SQLite in the home."""
    port: int = Field(3306, ge=1, le=65535)
    """Its port."""
    user: str = "ginkgo"
    """Who logs in."""
    password: SecretStr = SecretStr("")
    """With what."""
    database: str = "ginkgo"
    """Its name; it must exist, `ginkgo data init` makes the tables."""


class ClickHouse(_Section):
    """History; embedded: SQLite. The port is the native protocol's."""

    host: Host = None
    """Where it is; without one, SQLite in the home."""
    port: int = Field(9000, ge=1, le=65535)
    """That of the native protocol, not 8123, which is HTTP's."""
    user: str = "default"
    """Who logs in."""
    password: SecretStr = SecretStr("")
    """With what."""
    database: str = "ginkgo"
    """Its name; it is made when it is first written to."""


class Redis(_Section):
    """Heartbeats, live status, Celery's broker; embedded: Valkey."""

    host: Host = None
    """Where it is; without one, Valkey as a child process."""
    port: int = Field(6379, ge=1, le=65535)
    """Its port."""
    db: int = Field(0, ge=0)
    """Its number in that Redis."""
    password: SecretStr = SecretStr("")
    """With what one logs in."""


class MongoDB(_Section):
    """Alerts and notifications; embedded: a MongoDB-protocol server."""

    host: Host = None
    """Where it is; without one, a child process that speaks its protocol."""
    port: int = Field(27017, ge=1, le=65535)
    """Its port."""
    user: str = ""
    """Who logs in; nobody if empty."""
    password: SecretStr = SecretStr("")
    """With what."""
    database: str = "ginkgo"
    """Its name."""


class Topic(_Section):
    """One topic, as `kafka.topics` names it."""

    partitions: int | None = Field(None, ge=1)
    """How many, only ever raised; 10 for prices and orders, else 3. Keys then move: stop everything first."""
    replication_factor: int | None = Field(None, ge=1)
    """Copies, when it is made; without one 3 where there are three brokers, else 1."""


class Kafka(_Section):
    """Apache Kafka 3.x/4.x; embedded: Apache Kafka itself."""

    bootstrap_servers: Texts = ()
    """`HOST:PORT`, several with commas; without one, Apache Kafka as a child process."""
    group_id: str = "ginkgo"
    """Accepted, not used: a portfolio's offsets are in its checkpoint, and each reader has a group of its own."""
    auto_offset_reset: Literal["earliest", "latest", "error"] = "error"
    """Accepted, not used: no reader resets an offset by itself, a gap is an alert (`data_gap`)."""
    enable_auto_commit: Literal[False] = False
    """Can only be false: offsets are saved with what was made of the messages."""
    partition_pruning: bool = True
    """Read only the partitions that wanted codes live in. False where a feed does not key by murmur2."""
    topics: Annotated[dict[str, Topic], BeforeValidator(_known_topics)] = {}
    """By a topic's name, its `partitions` and `replication_factor`; `ginkgo data init` applies them."""


class Embedded(_Section):
    """The embedded servers. Memory in MB, times in seconds.

    `cache` is where the downloaded Kafka is kept for all homes of this user; None: `~/.cache/ginkgo`.
    """

    kafka_version: str = "4.1.0"
    """Which Apache Kafka is fetched."""
    kafka_heap_mb: int = Field(512, ge=256)
    """Its heap, in MB."""
    kafka_session_timeout: float = Field(3.0, gt=0)
    """How long after a kill it waits for its former self, in seconds."""
    start_timeout: float = Field(60.0, gt=0)
    """What a server may take to answer, in seconds."""
    stop_timeout: float = Field(45.0, gt=0)
    """What all of them may take to stop, in seconds; then they are killed."""
    maven_repository: str = "https://repo.maven.apache.org/maven2"
    """Whence Kafka's jars come; a mirror where Maven Central is far."""
    cache: Directory | None = None
    """Where they are kept, for all homes of this user; without one `~/.cache/ginkgo`."""


class Web(_Section):
    """The admin and the API. A port of None: 8000 (Flower 5555) if free, else any free one."""

    host: str = "127.0.0.1"
    """The address it listens at; `0.0.0.0` for all."""
    port: int | None = Field(None, ge=1, le=65535)
    """Without one, 8000 if it is free, else any."""
    url: Annotated[str | None, BeforeValidator(_public_url)] = None
    """Where users reach it, such as `https://ginkgo.example.com`. With https, everything is served as a public site's:
    cookies and redirects by https only, HSTS, and a `secret_key` of your own. A proxy ends the TLS, and says so in
    `X-Forwarded-Proto`, which nobody else can be let to set."""
    flower_host: str = "127.0.0.1"
    """The address Flower listens at; another than this machine's own needs `flower_password`."""
    flower_port: int | None = Field(None, ge=1, le=65535)
    """Flower's; without one, 5555 if it is free, else any."""
    flower_password: SecretStr = SecretStr("")
    """With what one logs in to Flower, as `ginkgo`; without one it asks nobody."""
    workers: int = Field(1, ge=1)
    """Processes that answer."""
    allowed_hosts: Texts = ("127.0.0.1", "localhost")
    """Names by which it may be called; others are refused."""
    debug: bool = False
    """Django's pages for errors, with settings and variables: never where others can reach it."""
    secret_key: SecretStr | None = None
    """Signs sessions and tokens, encrypts channels; the same for all machines. Without one, made in the home."""
    admin_password: SecretStr = SecretStr("")
    """That of the first administrator, whom `ginkgo data init` makes; without one it makes one and shows it once."""
    static_root: Directory | None = None
    """Where `manage.py collectstatic` has put the pages' files; without one `static` in the home."""

    @property
    def public(self) -> bool:
        """Whether it is a public site's: served by https."""
        return self.url is not None and self.url.startswith("https://")

    @model_validator(mode="after")
    def _safe_in_public(self) -> Web:
        if self.flower_host not in _LOOPBACK and not self.flower_password.get_secret_value():
            raise ValueError(f"flower_host {self.flower_host} lets others stop workers: set web.flower_password too")
        if not self.public:
            return self
        key = self.secret_key.get_secret_value() if self.secret_key is not None else ""
        if not key:
            raise ValueError(f"url is https: set web.secret_key too, made with {_MAKE_KEY}")
        if len(key) < 50 or len(set(key)) < 5:
            raise ValueError(f"secret_key is too easy to guess for a public site: make one with {_MAKE_KEY}")
        if self.debug:
            raise ValueError("debug shows settings and variables to anybody: off for a public site")
        return self


class Node(_Section):
    """A node. Times in seconds, sizes in events unless said otherwise."""

    heartbeat_interval: float = Field(10.0, gt=0)
    """Between two heartbeats, in seconds."""
    heartbeat_ttl: float = Field(30.0, gt=0)
    """Silent for so long, a node is taken for dead and its portfolios move, in seconds."""
    max_portfolios: int = Field(5, ge=1)
    """How many it takes; `--max-portfolios` over it."""
    max_queue_size: int = Field(1000, ge=10)
    """Events that may wait for one portfolio."""
    checkpoint_interval: float = Field(5.0, gt=0)
    """A portfolio that changed without an order is saved after so long, in seconds."""
    reconcile_interval: float = Field(5.0, gt=0)
    """Between two looks at what it owns and what it runs, in seconds."""
    resend_interval: float = Field(10.0, gt=0)
    """An order that was not answered is sent again after so long, in seconds."""
    degraded_after: float = Field(2.0, gt=0)
    """An order that Kafka has not confirmed after so long, in seconds, goes straight to an engine, if its portfolio's
    `policy.degraded_send` lets it."""
    interest_interval: float = Field(60.0, gt=0)
    """Between two announcements of the codes that it wants, in seconds."""
    stop_timeout: float = Field(30.0, gt=0)
    """What a stop, a move or a reload may take, in seconds; then it is forced."""
    fetch_wait_ms: int = Field(10, ge=1)
    """How long Kafka may wait for more before it answers a fetch, in milliseconds."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """Of every process, not only nodes."""

    @model_validator(mode="after")
    def _outlives_its_interval(self) -> Node:
        if self.heartbeat_ttl <= self.heartbeat_interval:
            raise ValueError("heartbeat_ttl must be longer than heartbeat_interval")
        return self


class Scheduler(_Section):
    """The scheduler. Times in seconds; they seed the beat's intervals, the admin's edits win afterwards."""

    schedule_interval: float = Field(30.0, gt=0)
    """Between two rounds, in seconds; there is one at once when something changes."""
    heartbeat_check_interval: float = Field(5.0, gt=0)
    """Between two looks at the heartbeats, in seconds."""
    lease: float = Field(20.0, gt=0)
    """A round's lease: a scheduler that froze is replaced after it, in seconds."""
    max_moves_per_tick: int = Field(5, ge=0)
    """Moves for balance in one round; none with 0. Failovers are not limited."""
    imbalance_threshold: int = Field(1, ge=1)
    """Portfolios that two nodes may differ by before one moves."""
    move_timeout: float = Field(30.0, gt=0)
    """What a node may take to give a portfolio away, in seconds; then it is taken."""


class Engine(_Section):
    """The order engine and its pre-trade checks. Times in seconds, money in the portfolio's currency."""

    broker: str = "simulation"
    """Which of `brokers` this engine trades at."""
    switch_interval: float = Field(0.2, gt=0)
    """Between two looks at the stop button, in seconds."""
    reconcile_interval: float = Field(60.0, gt=0)
    """Between two reconciliations of fills, portfolios and broker, in seconds."""
    max_orders_per_minute: int = Field(600, ge=1)
    """Of one portfolio; more are rejected (`order_rate`)."""
    max_order_value: float = Field(10_000_000.0, gt=0)
    """Of one order; a larger one is rejected (`order_value`)."""
    max_daily_turnover: float = Field(1_000_000_000.0, gt=0)
    """Of one portfolio in a trading day (`daily_turnover`)."""
    max_order_age: float | None = Field(None, gt=0)
    """Between an order's cause and the engine, in seconds; older is rejected. Without one, any age."""
    door_host: Host = "127.0.0.1"
    """Where it takes orders straight from nodes while Kafka is away; `0.0.0.0` for nodes of other machines; empty: not
    at all."""
    door_port: int | None = Field(None, ge=1, le=65535)
    """The port of that. Without one, any that is free."""
    door_secret: SecretStr | None = None
    """By which nodes and engines know each other there; the same for all machines. Without one, made from
    `web.secret_key`."""


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
    """Of an access token, in seconds."""
    refresh_token_lifetime: float = Field(86_400.0, gt=0)
    """Of a refresh token, in seconds."""
    read_rate: Rate = "1200/min"
    """Reads of one user: a number per `s`, `min`, `h` or `d`."""
    trade_rate: Rate = "120/min"
    """Writes of the scope `trade`, of one user."""
    operate_rate: Rate = "60/min"
    """Writes of the scope `operate`, of one user."""
    login_rate: Rate = "20/min"
    """Logins from one address."""
    components: Annotated[tuple[str, ...], BeforeValidator(_module)] = ()
    """Modules whose components may be named through the API."""


class Feed(_Section):
    """The feed of `ginkgo up`: `speed` in trading days per second for the sample."""

    source: Literal["sample", "simulation", "none"] = "sample"
    """What it plays."""
    speed: float = Field(1.0, gt=0)
    """Trading days a second of the sample; else N times as fast as it was."""
    seed: int = 7
    """Of everything random in it."""


class History(_Section):
    """What is recorded. Times in seconds unless said otherwise; days count from when a row was recorded.

    Rows go to the server in batches, through a spool on this machine's disk of at most `spool_max_mb` MB (None as
    `spool`: `$GINKGO_HOME/history`). Beyond 80 % of it there is an alert; when it is full the log is not read on.
    `warm_up`: nodes show strategies the past at a first start and under a new configuration.
    """

    batch_rows: int = Field(100, ge=1)
    """So many rows leave together …"""
    batch_seconds: float = Field(10.0, gt=0)
    """… or as many as there are after so long, in seconds."""
    sample_interval: float = Field(1.0, gt=0)
    """Between two samples of equity and positions, in seconds."""
    spool: Directory | None = None
    """Where rows wait for their server; without one `$GINKGO_HOME/history`."""
    spool_max_mb: int = Field(1024, ge=1)
    """At most so much of them, in MB."""
    ticks_days: int = Field(90, ge=1)
    """Days that ticks are kept."""
    bars_days: int = Field(3650, ge=1)
    """Days that bars are kept."""
    books_days: int = Field(3650, ge=1)
    """Days that orders, fills, equity and positions are kept."""
    warm_up: bool = True
    """Nodes show strategies the past at a first start and under a new configuration."""


class Config(_Section):
    """All of it. `home` holds the embedded servers' data and the generated secrets."""

    home: Directory = PROJECT / ".ginkgo"
    """Where everything of one installation lies: embedded servers' data, logs, generated secrets."""
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
    """Feeds' own settings, free in form (`data_sources.yml`); for feeds of your own."""
    brokers: dict[str, dict[str, Any]] = Field(
        {"simulation": {"type": "simulation", "commission_rate": {**COMMISSION_RATES}, "slippage_rate": 0.001}},
        repr=False,
    )
    """By a broker's name its `type`, and all that its class takes (`brokers.yml`)."""
