"""A supervisor in the background: started in a session of its own, and heard until it is ready or says why not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ginkgo_site.config import PROJECT
from ginkgo_site.stack import cache, logs
from ginkgo_site.stack.errors import StackError


class Notifier:
    """The background side: one JSON object a line on an inherited descriptor; silent without one."""

    def __init__(self, descriptor: int | None) -> None:
        self._descriptor = descriptor

    @property
    def open(self) -> bool:
        """Whether somebody waits for us to be ready."""
        return self._descriptor is not None

    def say(self, line: str) -> None:
        self._send({"say": line})

    def ready(self, document: dict[str, Any]) -> None:
        self._send({"ready": document})
        self.close()

    def error(self, message: str) -> None:
        self._send({"error": message})
        self.close()

    def close(self) -> None:
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _send(self, message: dict[str, Any]) -> None:
        if self._descriptor is None:
            return
        try:
            os.write(self._descriptor, json.dumps(message).encode() + b"\n")
        except BrokenPipeError:  # nobody waits any more; the supervisor goes on
            self.close()


def environment() -> dict[str, str]:
    """A child's: ours, and this project importable from any directory."""
    paths = [str(PROJECT), *filter(None, [os.environ.get("PYTHONPATH")])]
    inherited = {**os.environ, "PYTHONPATH": os.pathsep.join(dict.fromkeys(paths)), "PYTHONUNBUFFERED": "1"}
    if inherited.pop("PYTHONDONTWRITEBYTECODE", None):
        # Nothing is to be written beside the sources; but ten processes that compile all of it take long to start.
        inherited.setdefault("PYTHONPYCACHEPREFIX", str(cache.folder() / "bytecode"))
    return inherited


def command(*words: str) -> tuple[str, ...]:
    """`ginkgo WORDS…` by this very interpreter."""
    return (sys.executable, "-m", "ginkgo_site.cli", *words)


def launch(words: Sequence[str], home: Path, log: Path, say: Callable[[str], None]) -> dict[str, Any]:
    """Start `ginkgo WORDS… --notify N` in the background; what it said when ready. Raises StackError with its error.

    Interrupted while waiting, it takes the background process down with it.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    logs.trim(log)
    reading, writing = os.pipe()
    with log.open("ab") as output:
        process = subprocess.Popen(
            command(*words, "--notify", str(writing)),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment(), "GINKGO_HOME": str(home)},
            cwd=home,
            pass_fds=(writing,),
            start_new_session=True,
        )
    os.close(writing)
    try:
        with os.fdopen(reading, encoding="utf-8") as messages:
            for line in messages:
                message = json.loads(line)
                if "ready" in message:
                    ready: dict[str, Any] = message["ready"]
                    return ready
                if "error" in message:
                    raise StackError(message["error"])
                say(message["say"])
    except KeyboardInterrupt:
        process.terminate()
        process.wait()
        raise
    code = process.wait()
    raise StackError(f"the supervisor ended while starting (exit code {code}): {logs.telling_line(log)} (see {log})")
