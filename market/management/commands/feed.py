"""`ginkgo feed`: publish market data, and see how that goes."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import date
from pathlib import Path
from typing import Annotated

import redis
from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Option

from market.bus import KafkaUnavailable
from market.feeds.base import Feed, FeedError
from market.feeds.record import record as write_record
from market.feeds.replay import ReplayFeed
from market.feeds.sample import CODES, SampleFeed
from market.feeds.service import run_feed
from market.feeds.simulation import SimulationFeed
from market.feeds.status import read_status
from market.history.feed import HistoryFeed
from market.stopping import stop_on_signals
from market.topics import MARKET_DATA
from portfolios import services
from portfolios.calendars import CalendarError, trading_days
from portfolios.console import moment_of, print_json, print_table
from portfolios.errors import PortfolioError
from portfolios.livestate import RedisUnavailable

log = logging.getLogger(__name__)


Source = Annotated[str | None, Option("--source", help="sample, simulation, replay or history.")]
Speed = Annotated[float | None, Option("--speed", help="Trading days a second (sample), else N times as fast.")]
Codes = Annotated[list[str] | None, Option("--codes", help="Only these, separated by commas. Repeatable.")]
File = Annotated[Path | None, Option("--file", help="What to replay: CSV or Parquet.")]
Bar = Annotated[str | None, Option("--bar", help="Of history: bars of 1m, 5m, 15m, 1h or 1d; else its ticks.")]
Seed = Annotated[int | None, Option("--seed", help="Of everything random.")]
Rate = Annotated[float, Option("--rate", help="The simulation's messages a second.")]
All = Annotated[bool, Option("--all", help="Publish also what nobody is interested in.")]
Kafka = Annotated[str | None, Option("--kafka-bootstrap-servers", help="Instead of the configuration's.")]
RedisHost = Annotated[str | None, Option("--redis-host", help="Instead of the configuration's.")]
RedisPort = Annotated[int | None, Option("--redis-port", help="Instead of the configuration's.")]
Rewind = Annotated[bool, Option("--rewind", help="From its beginning, though time then runs backwards.")]
LockStep = Annotated[
    bool,
    Option("--lock-step", help="A price waits until every portfolio is done with the one before; as in a backtest."),
]
Portfolios = Annotated[
    list[str] | None, Option("--portfolio", help="In lock step: wait only for this one (id or name). Repeatable.")
]


class Command(TyperCommand):
    help = "Market data: start a feed, look at it."

    @initialize()
    def init(self) -> None:
        """Market data: start a feed, look at it."""

    @command()
    def start(
        self,
        source: Source = None,
        speed: Speed = None,
        codes: Codes = None,
        file: File = None,
        bar: Bar = None,
        seed: Seed = None,
        rate: Rate = 200.0,
        everything: All = False,
        rewind: Rewind = False,
        lock_step: LockStep = False,
        portfolio: Portfolios = None,
        kafka_bootstrap_servers: Kafka = None,
        redis_host: RedisHost = None,
        redis_port: RedisPort = None,
    ) -> None:
        """Publish a market's prices until stopped. Goes on where the last feed of the market stopped."""
        # The last three are taken from the command line before the settings are read: here they are only known.
        configured = settings.GINKGO.feed
        source = source or configured.source
        pace = configured.speed if speed is None and source == "sample" else (1.0 if speed is None else speed)
        if lock_step and speed is None:
            pace = float("inf")
        if portfolio and not lock_step:
            raise CommandError("--portfolio says whom --lock-step waits for: give both")
        if pace < 0 or (pace == 0 and source not in ("replay", "history")) or rate <= 0:
            raise CommandError("--speed and --rate must be more than 0 (--speed 0: a replay as fast as possible)")
        chosen = [code for text in codes or [] for code in text.replace(",", " ").split()]
        stop = threading.Event()
        stop_on_signals(stop)
        try:
            feed = _feed(source, chosen, file, configured.seed if seed is None else seed, rate, pace == 0, bar)
            waits_for = [services.find(each).id for each in portfolio or []] if lock_step else None
            run_feed(feed, stop, pace or 1.0, everything or lock_step, rewind, waits_for)
        except (FeedError, KafkaUnavailable, PortfolioError) as error:
            raise CommandError(str(error)) from None

    @command()
    def record(
        self,
        file: Annotated[Path, Argument(help="Where to: a CSV file.")],
        market: Annotated[str, Option("--market", help="cn, hk, us or futures.")] = "cn",
        since: Annotated[
            str | None, Option("--since", help="What was published from this moment on (RFC 3339); else all there is.")
        ] = None,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
    ) -> None:
        """Write what has been published of a market to a file, with its places in the log."""
        if market not in MARKET_DATA:
            raise CommandError(f"--market: there is no market {market!r}: use {', '.join(MARKET_DATA)}")
        try:
            count = write_record(market, file, moment_of("--since", since))
        except (FeedError, KafkaUnavailable) as error:
            raise CommandError(str(error)) from None
        if as_json:
            return print_json({"file": str(file), "market": market, "messages": count})
        sys.stdout.write(f"Recorded {count:,} prices of market {market} to {file}\n")
        return None

    @command()
    def status(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """What the feed last said about itself."""
        try:
            found = read_status()
        except (redis.RedisError, RedisUnavailable) as error:
            raise CommandError(f"Redis does not answer: {error}") from None
        if found is None:
            raise CommandError("no feed has run yet: start one with 'ginkgo feed start'")
        if as_json:
            return print_json(found)
        return print_table("Feed", ("Field", "Value"), found.items())


def _feed(
    source: str, codes: list[str], file: Path | None, seed: int, rate: float, hurry: bool, bar: str | None = None
) -> Feed:
    if source == "sample":
        return SampleFeed(codes or CODES, seed, _days())
    if source == "simulation":
        return SimulationFeed(codes or CODES, seed, rate, _days())
    if source == "replay":
        if file is None:
            raise FeedError("a replay needs a file: give it with --file")
        return ReplayFeed(file, codes, as_fast_as_possible=hurry)
    if source == "history":
        return HistoryFeed(codes, bar, as_fast_as_possible=hurry)
    raise FeedError(f"there is no source {source!r}: use sample, simulation, replay or history")


def _days() -> tuple[date, ...]:
    try:
        return trading_days("cn", settings.GINKGO.home)
    except CalendarError as error:
        log.warning("Every weekday counts as a trading day: %s", error)
        return ()
