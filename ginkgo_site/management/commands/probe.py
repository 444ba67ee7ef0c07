"""`ginkgo probe`: does a process of the cluster live?"""

from __future__ import annotations

from typing import Annotated

from django_typer.management import TyperCommand
from typer import Argument, Exit, Option

from ginkgo_site import probe


class Command(TyperCommand):
    help = (
        "Exit code 0 if a process of the cluster lives, 1 if it has been silent for too long, for whoever restarts it."
        " Where Redis does not answer nobody knows, and it is left alone."
    )
    requires_system_checks = []

    # `ginkgo probe` goes there without Django, which takes a second; this is its help, and `manage.py probe`.
    def handle(
        self,
        process: Annotated[str, Argument(help="node, scheduler, engine, feed, web or flower.")],
        node_id: Annotated[str, Option("--node-id", help="Which node.")] = "",
    ) -> None:
        raise Exit(probe.main([process, *(["--node-id", node_id] if node_id else [])]))
