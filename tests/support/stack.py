"""Real servers for tests: one embedded stack for the whole run, started when the first test asks for it.

`python -m tests.support.debian` gives MariaDB and Redis by configuration; the stack then embeds only what is not given,
so the same fixture serves both.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ginkgo_site.supervisor.detach import command, environment
from tests.support.eventually import eventually

_START = 90.0
_NONE: Mapping[str, str | None] = {}


@dataclass(frozen=True)
class RunningStack:
    """What runs: the addresses as their clients take them (as in stack.json), and how a process reaches the home."""

    home: Path
    kafka: str
    redis: str
    mongodb: str
    supervisor: int

    @property
    def environment(self) -> dict[str, str]:
        """For a process of the product under test: it finds everything by its home."""
        return {**environment(), "GINKGO_HOME": str(self.home)}

    def processes(self) -> dict[str, int]:
        """Each server's process number as of now."""
        found: dict[str, int] = read(self.home)["processes"]
        return found

    def run(self, *words: str, timeout: float = 60.0) -> subprocess.CompletedProcess[str]:
        """`ginkgo WORDS…` in this home, to its end."""
        return run(self.home, *words, timeout=timeout)


@contextmanager
def running_stack(home: Path, variables: Mapping[str, str | None] = _NONE) -> Iterator[RunningStack]:
    """The embedded servers in `home`, ready; stopped afterwards, and also if this process is killed.

    `variables` are added to the environment; one of None is taken out of it.
    """
    home.mkdir(parents=True, exist_ok=True)
    with (home / "stack.log").open("ab") as log:
        process = subprocess.Popen(
            command("stack", "start", "--foreground", "--tied"),
            env=process_environment(home, variables),
            stdin=subprocess.PIPE,  # its end stops the stack, however we end
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:

        def ready() -> bool:
            if process.poll() is not None:
                raise RuntimeError(f"the stack did not start: {(home / 'stack.log').read_text()[-1000:]}")
            return read(home).get("state") == "running" and read(home).get("supervisor") == process.pid

        eventually(ready, timeout=_START, saying="the stack ready")
        data = read(home)
        yield RunningStack(home, data["kafka"], data["redis"], data["mongodb"], process.pid)
    finally:
        assert process.stdin is not None
        process.stdin.close()
        process.wait(timeout=60)


def read(home: Path) -> dict[str, Any]:
    """stack.json as it stands, or nothing."""
    try:
        found: dict[str, Any] = json.loads((home / "stack.json").read_text())
    except FileNotFoundError:
        return {}
    return found


def run(
    home: Path, *words: str, timeout: float = 60.0, variables: Mapping[str, str | None] = _NONE
) -> subprocess.CompletedProcess[str]:
    """`ginkgo WORDS…` in `home`, to its end; output captured as text. `variables` as in `running_stack`."""
    return subprocess.run(
        command(*words),
        env=process_environment(home, variables),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


def process_environment(home: Path, variables: Mapping[str, str | None]) -> dict[str, str]:
    """That of a process of the product which belongs to `home`; `variables` as in `running_stack`."""
    merged: dict[str, str | None] = {**environment(), "GINKGO_HOME": str(home), **variables}
    return {name: value for name, value in merged.items() if value is not None}
