"""`ginkgo flower`: Flower, which shows every node and the scheduler's worker, on this machine's own address only."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import listen
from ginkgo_site.stack.errors import StackError

_HOST = "127.0.0.1"
_USUAL_PORT = 5555


class Command(TyperCommand):
    help = "Show nodes, workers and their tasks (Celery's Flower)."
    requires_migrations_checks = False

    def handle(self) -> None:
        from ginkgo_site.celery import app

        config: Config = settings.GINKGO
        announced = addresses.resolve(config).flower
        try:
            port = listen.choose(config.web.flower_port, announced, _USUAL_PORT, _HOST, "web.flower_port")
        except StackError as error:
            raise CommandError(str(error)) from None
        sys.stderr.write(f"serving http://{_HOST}:{port}\n")
        app.start(["--app=ginkgo_site.celery:app", "--quiet", "flower", f"--address={_HOST}", f"--port={port}"])
