"""`ginkgo up`: everything, in one command."""

from __future__ import annotations

import sys
from typing import Annotated, Any

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand
from rich.console import Console
from typer import BadParameter, Option

from ginkgo_site.config import Config
from ginkgo_site.stack import jars
from ginkgo_site.stack.errors import Interrupted, StackError
from ginkgo_site.stack.lock import refuse_second
from ginkgo_site.stack.progress import Download
from ginkgo_site.stack.report import print_json
from ginkgo_site.stack.stack import Stack
from ginkgo_site.supervisor import up
from ginkgo_site.supervisor.detach import Notifier, launch
from ginkgo_site.supervisor.screen import Screen, print_addresses
from ginkgo_site.supervisor.signals import Signals

_FEEDS = ("sample", "simulation", "none")


class Command(TyperCommand):
    help = "Start servers, scheduler, engine, nodes, feed, web and Flower, and keep them running until Ctrl-C."
    # The tables may not be there yet; `data init` makes them.
    requires_system_checks = []
    requires_migrations_checks = False

    def handle(
        self,
        nodes: Annotated[int, Option(min=1, max=100, help="How many nodes.")] = 2,
        feed: Annotated[str | None, Option(help="sample, simulation or none.")] = None,
        speed: Annotated[float | None, Option(help="Trading days a second.")] = None,
        detach: Annotated[bool, Option("--detach", help="Go on in the background; `ginkgo down` stops it.")] = False,
        as_json: Annotated[bool, Option("--json", help="One JSON document on stdout.")] = False,
        notify: Annotated[int | None, Option(hidden=True)] = None,
    ) -> None:
        config: Config = settings.GINKGO
        wanted = up.Wanted(nodes, feed or config.feed.source, speed or config.feed.speed)
        if wanted.feed not in _FEEDS:
            raise BadParameter(f"{wanted.feed!r}: one of {', '.join(_FEEDS)}", param_hint="--feed")
        if wanted.speed <= 0:
            raise BadParameter("must be above 0", param_hint="--speed")
        if detach and notify is None:
            _in_background(config, wanted, as_json)
        else:
            _here(config, wanted, as_json, Notifier(notify))


def _here(config: Config, wanted: up.Wanted, as_json: bool, notifier: Notifier) -> None:
    # In the background stdout is the log: neither the password nor the live line belongs there.
    with Signals() as signals, Download() as progress, Screen(quiet=as_json or notifier.open) as screen:

        def say(line: str) -> None:
            screen.say(line)
            notifier.say(line)

        try:
            stack = Stack(config, signals, say, progress)
            try:
                stack.start()
                admin = up.install(stack, config, lambda admin: _tell(admin, notifier, screen))
                up.start(stack, config, wanted)
                document = {**stack.document(), "admin": admin}
                notifier.ready(document)
                if as_json:
                    print_json(document)
                screen.addresses(document, admin)
                up.watch(stack, config, screen)
            finally:
                screen.stopping()
                stack.close()
        except Interrupted:
            notifier.error("interrupted while starting")
        except StackError as error:
            notifier.error(str(error))
            raise CommandError(str(error)) from None


def _tell(admin: dict[str, Any], notifier: Notifier, screen: Screen) -> None:
    """The new password, as soon as it is known: to whoever waits in the foreground, never to the log."""
    if admin.get("password"):
        line = f"administrator {admin['user']}, password {admin['password']} (shown only now)"
        if notifier.open:
            notifier.say(line)
        else:
            screen.say(line)


def _in_background(config: Config, wanted: up.Wanted, as_json: bool) -> None:
    words = ["up", "--nodes", str(wanted.nodes), "--feed", wanted.feed, "--speed", f"{wanted.speed:g}"]
    try:
        refuse_second(config.home)
        if not config.kafka.bootstrap_servers:
            with Download() as progress:
                jars.class_path(config, progress)
        document = launch(words, config.home, config.home / "logs" / "supervisor.log", _to_stderr)
    except StackError as error:
        raise CommandError(str(error)) from None
    if as_json:
        print_json(document)
    else:
        print_addresses(Console(highlight=False), document, document["admin"])
        sys.stdout.write("running in the background: `ginkgo status` looks, `ginkgo down` stops\n")


def _to_stderr(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
