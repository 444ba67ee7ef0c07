"""`ginkgo engine`: run the order engine, look at it, stop and start its trading, decide what its broker cannot tell."""

from __future__ import annotations

import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django_typer.management import TyperCommand, command, initialize
from typer import Argument, Option

from market import memory, switch
from market.brokers import UnknownBroker
from market.brokers.port import BrokerError
from market.bus import KafkaUnavailable
from market.engine import alone, decisions
from market.engine import status as live
from market.engine.decisions import Trade, Verdict
from market.engine.service import EngineService, supervise
from market.stopping import stop_on_signals
from portfolios import command_log, exits
from portfolios.console import database_trouble, moment_of, plain_errors, print_json, print_table

log = logging.getLogger(__name__)

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
Kafka = Annotated[str | None, Option("--kafka-bootstrap-servers", help="Instead of the configuration's.")]
RedisHost = Annotated[str | None, Option("--redis-host", help="Instead of the configuration's.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask.")]
RedisPort = Annotated[int | None, Option("--redis-port", help="Instead of the configuration's.")]


class Command(TyperCommand):
    help = "The order engine: run it, look at it, stop and start its trading."

    @initialize()
    def init(self) -> None:
        """The order engine: run it, look at it, stop and start its trading."""

    @command()
    def run(
        self,
        kafka_bootstrap_servers: Kafka = None,
        redis_host: RedisHost = None,
        redis_port: RedisPort = None,
    ) -> None:
        """Run an engine in the foreground until Ctrl-C or SIGTERM."""
        logging.getLogger().setLevel(settings.GINKGO.node.log_level)
        memory.share_heaps()
        stop = threading.Event()
        stop_on_signals(stop)
        try:
            switch.read()
        except DatabaseError as error:
            raise CommandError(database_trouble(error)) from None
        try:
            with plain_errors():
                alone.insist(settings.GINKGO.engine.broker, stop)
            service = EngineService()
        except (KafkaUnavailable, UnknownBroker, RuntimeError, OSError) as error:
            raise CommandError(str(error)) from None
        try:
            service.start()
        except BrokerError as error:
            raise CommandError(f"broker {settings.GINKGO.engine.broker}: {error}") from None
        memory.settle()
        log.info("The engine runs as %s", service.slot.name)
        fault = supervise(service, stop)
        log.info("The engine stops: %s", fault or "asked to")
        service.stop()
        if fault is not None:
            raise CommandError(fault)
        log.info("The engine has stopped")

    @command()
    def status(
        self,
        kafka_bootstrap_servers: Kafka = None,
        redis_host: RedisHost = None,
        redis_port: RedisPort = None,
        as_json: Json = False,
    ) -> None:
        """Whether it runs and trades, its orders, what waits to be told."""
        with plain_errors():
            found = live.read(datetime.now(UTC))
        if as_json:
            return print_json(found)
        return print_table("Engine", ("Field", "Value"), [(_name(key), value) for key, value in found.items()])

    @command()
    def start(self, yes: Yes = False, as_json: Json = False) -> None:
        """Let engines send orders again, on every engine."""
        exits.ask("Let every portfolio's orders go to the brokers again?", yes)
        self._turn(True, as_json)

    @command()
    def stop(self, yes: Yes = False, as_json: Json = False) -> None:
        """Cancel all working orders and reject new ones, on every engine, until 'engine start'."""
        exits.ask("Cancel every working order and reject new ones?", yes)
        self._turn(False, as_json)

    @command()
    def decide(
        self,
        order_id: Annotated[str, Argument(help="An order that is open: 'order_in_doubt' names it.")],
        verdict: Annotated[Verdict, Argument(help="What the broker says has become of it.")],
        price: Annotated[float | None, Option(help="Of one, in the currency: of 'filled'.")] = None,
        volume: Annotated[int | None, Option(help="That was filled; without it all that is open.")] = None,
        commission: Annotated[float | None, Option(help="Without it as the market's rules have it.")] = None,
        tax: Annotated[float | None, Option(help="Without it as the market's rules have it.")] = None,
        fill_id: Annotated[str, Option(help="The broker's: so that it is known, should the broker report it.")] = "",
        at: Annotated[str | None, Option(help="When, with a zone (2026-11-21T09:30:00+00:00); now.")] = None,
        reason: Annotated[str, Option(help="Told to the portfolio, of 'cancelled' and 'rejected'.")] = "",
        yes: Yes = False,
        as_json: Json = False,
    ) -> None:
        """Book what became of an order of which the broker cannot tell, and tell its portfolio.

        accepted: it works there. filled: it traded at --price, all of it or --volume. rejected: it was refused.
        cancelled: it has ended, or never was there and never will be.
        """
        if price is None and (volume, commission, tax, fill_id) != (None, None, None, ""):
            raise CommandError("--volume, --commission, --tax and --fill-id are of a fill: it needs its --price")
        moment = moment_of("--at", at) or datetime.now(UTC)
        trade = None if price is None else Trade(price, volume, commission, tax, fill_id)
        with plain_errors():
            order = decisions.find(order_id)
            what = f"{order} of portfolio {order.portfolio.name} ({order.state}, {order.filled_volume} filled)"
            exits.ask(f"Book '{verdict}' for order {order_id}: {what}?", yes, outright=True)
            after = decisions.decide(order, verdict, command_log.system_user(), moment, reason, trade)
        if as_json:
            facts = {"order_id": order_id, "state": after.state, "filled": after.filled_volume, "reason": after.reason}
            return print_json(facts)
        sys.stdout.write(f"Order {order_id} is {after.state}: {after.filled_volume} of {after.volume} filled.\n")
        return None

    @staticmethod
    def _turn(on: bool, as_json: bool) -> None:
        with plain_errors():
            found = switch.press(on)
        if as_json:
            document: dict[str, Any] = {
                "switch": "on" if found.on else "off",
                "changed_by": found.changed_by,
                "changed_at": found.changed_at,
            }
            return print_json(document)
        said = "Engines send orders." if on else "Engines cancel what works and reject what comes."
        sys.stdout.write(f"{said}\n")
        return None


def _name(key: str) -> str:
    return key.replace("_", " ").capitalize()
