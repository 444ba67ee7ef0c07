"""`ginkgo history`: record ticks, bars, equity, positions, orders and fills, and see how that goes."""

from __future__ import annotations

import logging
import os
import threading
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from market.bus import KafkaUnavailable
from market.stopping import stop_on_signals
from portfolios.console import plain_errors, print_json, print_table

log = logging.getLogger(__name__)

_NICE = 5
"""Whoever trades goes first."""


class Command(TyperCommand):
    help = "History: record what happens, look at what is recorded."

    @initialize()
    def init(self) -> None:
        """History: record what happens, look at what is recorded."""

    @command()
    def run(self) -> None:
        """Record in the foreground until Ctrl-C or SIGTERM. What its server does not take waits on this disk."""
        # Not needed by `--help` and the like: it brings SQLAlchemy along.
        from market.history.service import HistoryService, supervise
        from market.history.spool import SpoolError

        logging.getLogger().setLevel(settings.GINKGO.node.log_level)
        os.nice(_NICE)
        stop = threading.Event()
        stop_on_signals(stop)
        try:
            service = HistoryService()
        except (KafkaUnavailable, SpoolError) as error:
            raise CommandError(str(error)) from None
        service.start()
        log.info("History is recorded")
        fault = supervise(service, stop)
        log.info("History stops: %s", fault or "asked to")
        service.stop()
        if fault is not None:
            raise CommandError(fault)
        log.info("History has stopped")

    @command()
    def status(self, as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False) -> None:
        """Whether it is recorded, its rows, how far it is behind, what waits in the spool."""
        from market.history import status
        from market.history.spool import SpoolError

        try:
            with plain_errors():
                found = status.read()
        except SpoolError as error:
            raise CommandError(str(error)) from None
        if as_json:
            return print_json(found)
        spool = found["spool"]
        lines = [
            ("State", f"{found['state']} (process {found['pid']})" if found["pid"] else found["state"]),
            ("Address", found["address"]),
            ("Server", found["server"]),
            *((table.capitalize(), f"{rows:,}") for table, rows in (found["rows"] or {}).items()),
            ("Behind the log", "unknown: Kafka is away" if found["lag"] is None else f"{found['lag']:,} messages"),
            ("In the spool", f"{spool['rows']:,} rows, {spool['mb']} of {spool['max_mb']} MB"),
            ("Refused by the server", f"{spool['refused']:,} rows" if spool["refused"] else None),
        ]
        return print_table("History", ("Field", "Value"), lines)
