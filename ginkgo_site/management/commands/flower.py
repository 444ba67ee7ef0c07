"""`ginkgo flower`: Flower, which shows every node and the scheduler's worker; beyond this machine with a password."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import listen
from ginkgo_site.stack.errors import StackError

_USUAL_PORT = 5555
_USER = "ginkgo"


class Command(TyperCommand):
    help = "Show nodes, workers and their tasks (Celery's Flower)."
    requires_migrations_checks = False

    def handle(self) -> None:
        from ginkgo_site.celery import app

        config: Config = settings.GINKGO
        host, password = config.web.flower_host, config.web.flower_password.get_secret_value()
        announced = addresses.resolve(config).flower
        try:
            port = listen.choose(config.web.flower_port, announced, _USUAL_PORT, host, "web.flower_port")
        except StackError as error:
            raise CommandError(str(error)) from None
        sys.stderr.write(f"serving http://{host}:{port}\n")
        # To Celery's own reader of words: these never become arguments of a process, where others could read them.
        words = ["--app=ginkgo_site.celery:app", "--quiet", "flower", f"--address={host}", f"--port={port}"]
        app.start([*words, f"--basic-auth={_USER}:{password}"] if password else words)
