"""The MongoDB-protocol server of the nx-27017 wheel, for alerts only."""

from __future__ import annotations

import sys

from ginkgo_site.stack import probes
from ginkgo_site.stack.server import Server


class Mongo(Server):
    name = "mongodb"
    key = "mongodb"

    @property
    def address(self) -> str:
        return f"mongodb://127.0.0.1:{self.port}/ginkgo"

    def prepare(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)

    def before(self) -> None:
        # It believes any living process of that number to be itself; the home's lock is the better witness.
        (self.folder / "server.pid").unlink(missing_ok=True)

    def argv(self) -> list[str]:
        return [
            *(sys.executable, "-m", "nx_27017.nx_27017"),
            *("--host", "127.0.0.1", "-p", str(self.port)),
            *("--data-dir", str(self.folder), "--pid-file", str(self.folder / "server.pid"), "--log-file", "/dev/null"),
        ]

    def fault(self) -> str | None:
        return probes.mongodb(self.address)
