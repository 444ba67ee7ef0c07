"""What an embedded server is to its supervisor: a program, an address, and a question that shows it is ready."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from ginkgo_site.config import Config
from ginkgo_site.stack.ports import Ports
from ginkgo_site.supervisor.program import Program

Say = Callable[[str], None]
SERVERS_STAGE = 9  # stopped after everything of ours


class Server(ABC):
    """One embedded server. Its data is in `$GINKGO_HOME/<name>`, its log in `$GINKGO_HOME/logs/<name>.log`."""

    name: ClassVar[str]
    key: ClassVar[str]
    """Its key in stack.json."""

    def __init__(self, config: Config, ports: Ports) -> None:
        self.config = config
        self.port = ports.any()

    def move(self, ports: Ports) -> None:
        """Listen elsewhere: the port was taken after all."""
        self.port = ports.any()

    @property
    def folder(self) -> Path:
        return self.config.home / self.name

    @property
    def log(self) -> Path:
        return self.config.home / "logs" / f"{self.name}.log"

    @property
    @abstractmethod
    def address(self) -> str:
        """As its clients take it."""

    @abstractmethod
    def prepare(self) -> None:
        """Everything a first start needs (folders, files, formatting). Raises StackError."""

    def before(self) -> None:  # noqa: B027 (most need nothing)
        """What each start, a restart too, needs."""

    @abstractmethod
    def argv(self) -> list[str]: ...

    @abstractmethod
    def fault(self) -> str | None:
        """Ask the server: None if it answers as itself, else why not. Takes at most two seconds."""

    def program(self) -> Program:
        return Program(
            name=self.name,
            argv=tuple(self.argv()),
            log=self.log,
            stage=SERVERS_STAGE,
            cwd=self.folder,
            before=self.before,
        )
