"""`ginkgo engine`: run the order engine, look at it, stop and start its trading."""

from __future__ import annotations

import getpass
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Annotated, Any

from django.conf import settings
from django.core.management.base import CommandError
from django.db import DatabaseError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from market import memory, switch
from market.brokers import UnknownBroker
from market.brokers.port import BrokerError
from market.bus import KafkaUnavailable
from market.engine import alone
from market.engine import status as live
from market.engine.service import EngineService, supervise
from market.stopping import stop_on_signals
from portfolios import exits
from portfolios.console import database_trouble, plain_errors, print_json, print_table

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

    @staticmethod
    def _turn(on: bool, as_json: bool) -> None:
        with plain_errors():
            found = switch.turn(on, getpass.getuser())
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
