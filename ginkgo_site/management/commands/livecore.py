"""`ginkgo livecore start`: scheduler, engine and feed in one, beside servers that run already."""

from __future__ import annotations

import sys
from typing import Annotated

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand, command, initialize
from typer import Option

from ginkgo_site.config import Config
from ginkgo_site.management.commands.node import KafkaOption, RedisHostOption, RedisPortOption
from ginkgo_site.supervisor import livecore
from ginkgo_site.supervisor.signals import Signals
from market import topic_admin
from market.bus import KafkaUnavailable


class Command(TyperCommand):
    help = "Scheduler, engine and feed in one."

    @initialize()
    def init(self) -> None:
        """Scheduler, engine and feed in one."""

    @command()
    def start(
        self,
        data_source: Annotated[str | None, Option("--data-source", help="sample, simulation or none.")] = None,
        broker_type: Annotated[str | None, Option("--broker-type", help="One of the configuration's brokers.")] = None,
        kafka_bootstrap_servers: KafkaOption = "",
        redis_host: RedisHostOption = "",
        redis_port: RedisPortOption = None,
    ) -> None:
        """Run them in the foreground until Ctrl-C or SIGTERM; what dies is started again.

        Example: ginkgo livecore start --data-source sample --broker-type simulation
        """
        # The three addresses are read by ginkgo_site.overrides, before the settings are, and inherited by the children.
        config: Config = settings.GINKGO
        source, broker = data_source or config.feed.source, broker_type or config.engine.broker
        if source not in livecore.SOURCES:
            raise CommandError(
                f"--data-source: there is no source {source!r} (there is: {', '.join(livecore.SOURCES)}); for another "
                "say none, and run 'ginkgo feed start' or a feed of your own beside"
            )
        if broker not in config.brokers:
            raise CommandError(
                f"--broker-type: there is no broker {broker!r} (there is: {', '.join(config.brokers)}); "
                "describe it in brokers.yml"
            )
        try:
            topic_admin.status()
        except KafkaUnavailable as error:
            raise CommandError(str(error)) from None
        with Signals() as signals:
            livecore.run(livecore.programs(config, source, broker), signals, _say)


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")
    sys.stderr.flush()
