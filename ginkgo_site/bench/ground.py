"""What a benchmark stands on: tables and topics, portfolios given to its node, ticks in the log."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal

from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from django.db import connection

from ginkgo_site.bench import ticks, witness
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.installation.initialise import initialise
from market import bus, topic_admin, topics
from market.messages import PriceUpdate, encode
from portfolios import ownership, services
from portfolios.models import Portfolio

NODE_ID = "bench"
TOPIC = topics.MARKET_DATA["cn"]
INITIAL_CASH = Decimal(1_000_000)
_MB = 1_048_576
WITNESS_CASH = Decimal(1_000_000_000)
"""Enough for every order of a minute in which nobody answers."""


def prepare() -> None:
    """Tables and topics. Raises BenchError if somebody's data are there already."""
    initialise()
    if Portfolio.objects.exists():
        raise BenchError(
            f"the given database ({connection.settings_dict['NAME']}) has portfolios: give it an empty one"
        )
    full = [t.name for t in topic_admin.status().topics if t.name == TOPIC and any(t.end_offsets.values())]
    if full:
        raise BenchError(f"topic {full[0]} of the given Kafka holds messages: give it an empty one")


def place(shares: Iterable[Sequence[str]], short: int = 20, long: int = 60) -> list[str]:
    """A new portfolio for each share of codes, the node's from now on; their ids."""
    placed = []
    for number, codes in enumerate(shares):
        portfolio = services.create(
            f"bench {number}", None, "cn", INITIAL_CASH, ticks.trend_follow(codes, short, long), running=True
        )
        ownership.hand_over(ownership.Ownership(portfolio.id, ownership.NOBODY, 0), NODE_ID, "ginkgo bench")
        placed.append(portfolio.id)
    return placed


def witnesses(shares: Iterable[Sequence[str]], node_id: str = ownership.NOBODY) -> dict[str, tuple[str, ...]]:
    """A new portfolio of witnesses for each share of codes, `node_id`'s from now on; its codes by its id."""
    placed = {}
    for number, codes in enumerate(shares):
        portfolio = services.create(f"witness {number}", None, "cn", WITNESS_CASH, witness.config(codes), running=True)
        if node_id:
            ownership.hand_over(ownership.Ownership(portfolio.id, ownership.NOBODY, 0), node_id, "ginkgo bench")
        placed[portfolio.id] = tuple(codes)
    return placed


def remove(portfolio_ids: Iterable[str]) -> None:
    """They are nobody's, and wanted stopped: the next node does not run them."""
    for owned in ownership.owned_by(NODE_ID):
        ownership.hand_over(owned, ownership.NOBODY, "ginkgo bench")
    for portfolio_id in portfolio_ids:
        services.stop(portfolio_id)


def keep_little() -> None:
    """Let Kafka throw away ticks that are some minutes old."""
    admin = AdminClient({"bootstrap.servers": bus.bootstrap()})
    entries = {"retention.bytes": str(64 * _MB), "segment.bytes": str(16 * _MB)}
    wanted = ConfigResource(
        ConfigResource.Type.TOPIC,
        TOPIC,
        incremental_configs=[
            ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in entries.items()
        ],
    )
    for done in admin.incremental_alter_configs([wanted]).values():
        done.result(30)


def fill(market: Iterable[PriceUpdate]) -> int:
    """Write ticks to the log as fast as it takes them; how many. All of them have arrived when it returns."""
    producer = bus.make_producer(
        "bench.fill", linger_ms=20, **{"queue.buffering.max.messages": 500_000, "batch.num.messages": 20_000}
    )
    count = 0
    for tick in market:
        while True:
            try:
                producer.produce(TOPIC, key=tick.code, value=encode(tick))
                break
            except BufferError:
                producer.poll(0.05)
        count += 1
    if producer.flush(120):
        raise BenchError("Kafka did not take all ticks in 120 s")
    return count
