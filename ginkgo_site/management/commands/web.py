"""`ginkgo web`: the admin and the API, served by granian."""

from __future__ import annotations

import sys

from django.conf import settings
from django.core.management.base import CommandError
from django_typer.management import TyperCommand

from ginkgo_site import addresses
from ginkgo_site.config import Config
from ginkgo_site.stack import listen
from ginkgo_site.stack.errors import StackError

_USUAL_PORT = 8000
_THREADS = 4


class Command(TyperCommand):
    help = "Serve the admin and the API."
    requires_migrations_checks = False

    def handle(self) -> None:
        from granian import Granian
        from granian.constants import Interfaces

        config: Config = settings.GINKGO
        web = config.web
        try:
            port = listen.choose(web.port, addresses.resolve(config).web, _USUAL_PORT, web.host, "web.port")
        except StackError as error:
            raise CommandError(str(error)) from None
        settings.STATIC_ROOT.mkdir(parents=True, exist_ok=True)  # whitenoise warns of a missing one
        sys.stderr.write(f"serving http://{web.host}:{port}\n")
        Granian(
            "ginkgo_site.wsgi:application",
            address=web.host,
            port=port,
            interface=Interfaces.WSGI,
            workers=web.workers,
            blocking_threads=_THREADS,
            respawn_failed_workers=True,
            workers_kill_timeout=5,
        ).serve()
