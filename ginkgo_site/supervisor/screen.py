"""What `ginkgo up` shows: events above, one live line below; plain lines where there is no terminal."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from ginkgo_site.supervisor import summary

_PLAIN_EVERY = 10.0


class Screen:
    """`quiet`: stdout is kept for one document; events go to stderr in any case where stdout is no terminal."""

    def __init__(self, quiet: bool) -> None:
        self._console = Console(highlight=False)
        self._quiet = quiet
        self._live: Live | None = None
        self._shown_at: float | None = None
        self._shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def say(self, text: str) -> None:
        """One event."""
        if self._console.is_terminal and not self._quiet:
            self._console.print(text, soft_wrap=True, markup=False)
        else:
            sys.stderr.write(f"{text}\n")
            sys.stderr.flush()

    def addresses(self, stack: dict[str, Any], admin: dict[str, Any] | None) -> None:
        """Where everything is."""
        if not self._quiet:
            print_addresses(self._console, stack, admin)

    def update(self, status: dict[str, Any] | None, fault: str | None) -> None:
        """The live line, or a plain one every ten seconds."""
        if self._quiet:
            return
        text = f"no status yet ({fault})" if fault else summary.line(status) if status else "starting …"
        if self._console.is_terminal:
            if self._live is None:
                self._live = Live(console=self._console, auto_refresh=False, transient=True)
                self._live.start()
            self._live.update(Text(text, style="bold", no_wrap=True, overflow="ellipsis"), refresh=True)
            return
        now = time.monotonic()
        if (
            status is not None
            and text != self._shown
            and (self._shown_at is None or now - self._shown_at >= _PLAIN_EVERY)
        ):
            self._shown_at, self._shown = now, text
            self._console.print(text, soft_wrap=True, markup=False)

    def stopping(self) -> None:
        self._close()
        self.say("stopping (Ctrl-C again: at once) …" if self._console.is_terminal else "stopping …")

    def _close(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


def print_addresses(console: Console, stack: dict[str, Any], admin: dict[str, Any] | None) -> None:
    """A small table of addresses."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    table.add_row("admin", f"{stack['web']}/admin/")
    if admin:
        which = "shown above, once" if admin.get("password") else "you have"
        table.add_row("", f"{admin['user']}, with the password {which}")
    table.add_row("API", f"{stack['web']}/api/")
    table.add_row("Flower", stack["flower"])
    for key in ("kafka", "redis", "mongodb"):
        if stack.get(key):
            table.add_row(key, stack[key])
    table.add_row("data, logs", stack["home"])
    console.print(table)
