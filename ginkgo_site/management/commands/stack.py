"""`ginkgo stack`: the embedded servers alone, in the background or under a supervisor of yours."""

from __future__ import annotations

import sys
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Exit, Option

from ginkgo_site.config import Config
from ginkgo_site.stack import health, jars, record
from ginkgo_site.stack.errors import Interrupted, StackError
from ginkgo_site.stack.lock import refuse_second
from ginkgo_site.stack.progress import Download
from ginkgo_site.stack.report import print_health, print_json
from ginkgo_site.stack.stack import Stack
from ginkgo_site.stack.stopping import stop_running
from ginkgo_site.supervisor.detach import Notifier, launch
from ginkgo_site.supervisor.signals import Signals

Json = Annotated[bool, Option("--json", help="One JSON document on stdout.")]
Hidden = Annotated[int | None, Option(hidden=True)]


class Command(TyperCommand):
    help = "The embedded servers: Kafka, Valkey, the MongoDB-protocol server."

    # The tables may not be there yet, and no server needs them.
    requires_system_checks = []
    requires_migrations_checks = False

    @initialize()
    def init(self) -> None:
        """The embedded servers, in the background or under a supervisor of yours."""

    @command()
    def start(
        self,
        detach: Annotated[
            bool, Option("--detach/--foreground", help="Return when ready, or stay until a signal.")
        ] = True,
        as_json: Json = False,
        notify: Hidden = None,
        tied: Annotated[bool, Option("--tied", hidden=True, help="Stop when standard input ends.")] = False,
    ) -> None:
        """Start the servers that the configuration does not give, and write their addresses to stack.json."""
        config: Config = settings.GINKGO
        if detach and notify is None:
            self._in_background(config, as_json)
        else:
            self._here(config, as_json, Notifier(notify), tied)

    @command()
    def stop(self, as_json: Json = False) -> None:
        """Stop what runs in this home, servers and platform, and wait until it is gone."""
        try:
            stopped = stop_running(settings.GINKGO.home, self._say)
        except StackError as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json({"stopped": stopped})
        elif not stopped:
            self._say(f"nothing runs in {settings.GINKGO.home}")

    @command()
    def status(self, as_json: Json = False) -> None:
        """Ask every server, and tell. Exit code 1 if the stack is not running or a server does not answer."""
        found = health.check(settings.GINKGO)
        if as_json:
            print_json(found.document())
        else:
            print_health(found)
        if not found.healthy:
            raise Exit(1)

    def _in_background(self, config: Config, as_json: bool) -> None:
        try:
            refuse_second(config.home)
            if not config.kafka.bootstrap_servers:
                with Download() as progress:
                    jars.class_path(config, progress)
            launch(["stack", "start", "--foreground"], config.home, config.home / "logs" / "supervisor.log", self._say)
        except StackError as error:
            raise CommandError(str(error)) from None
        if as_json:
            print_json(record.read(config.home))
        else:
            print_health(health.check(config))

    def _here(self, config: Config, as_json: bool, notifier: Notifier, tied: bool) -> None:
        with Signals(tied_to=sys.stdin.fileno() if tied else None) as signals, Download() as progress:
            try:
                stack = Stack(config, signals, self._say, progress)
                try:
                    stack.start()
                    notifier.ready(stack.document())
                    if as_json:
                        print_json(stack.document())
                    elif tied or sys.stderr.isatty():
                        self._say(f"the servers are ready; their addresses are in {record.path(config.home)}")
                    while True:
                        stack.wait(60.0)
                finally:
                    stack.close()
            except Interrupted:
                notifier.close()
            except StackError as error:
                notifier.error(str(error))
                raise CommandError(str(error)) from None

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{line}\n")
        sys.stderr.flush()
