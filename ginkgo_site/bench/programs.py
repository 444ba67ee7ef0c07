"""Programs that a benchmark starts: each says what it measured as one line of JSON, its last on stdout."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.supervisor.detach import environment

_ENDS_S = 90.0
"""For the nodes and servers that one has started to stop in order."""


def measure(words: Sequence[str], timeout: float, env: Mapping[str, str] | None = None) -> dict[str, Any]:
    """Run it to its end; what it found. Raises BenchError with its last line on stderr."""
    try:
        done = subprocess.run(
            words, env={**environment(), **(env or {})}, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=timeout, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise BenchError(f"{words[-1]}: no end after {timeout:g} s") from None
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        said = done.stderr.strip().splitlines() or ["it said nothing"]
        raise BenchError(f"{' '.join(words[1:4])} failed (exit code {done.returncode}): {said[-1]}")
    found: dict[str, Any] = json.loads(lines[-1])
    return found


def attended(name: str, words: Sequence[str], timeout: float, env: Mapping[str, str]) -> bytes:
    """Run one that has `attend`ed, to its end; its last line on stdout. It speaks to our stderr itself.

    Whatever ends us, or `timeout` seconds, ends it too, in order. Raises BenchError.
    """
    process = subprocess.Popen(
        words, env={**environment(), **env}, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )  # fmt: skip
    assert process.stdin is not None and process.stdout is not None
    watch = threading.Timer(timeout, process.stdin.close)
    watch.start()
    try:
        said = process.stdout.read().splitlines()
        code = process.wait(_ENDS_S)
    finally:
        watch.cancel()
        process.stdin.close()
        process.wait(_ENDS_S)
    if code != 0 or not said:
        raise BenchError(f"{name} was not measured (exit code {code})")
    return said[-1]


def attend() -> None:
    """End as SIGTERM does when our stdin ends, and with that all that we have started: nobody waits for us any more."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    def read() -> None:
        while os.read(0, 1024):
            continue
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=read, name="bench_attended", daemon=True).start()


def module(name: str, *words: str) -> list[str]:
    """A module of ours, run by this interpreter."""
    return [sys.executable, "-m", name, *words]
