"""Programs that a benchmark starts: each says what it measured as one line of JSON, its last on stdout."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.supervisor.detach import environment


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


def module(name: str, *words: str) -> list[str]:
    """A module of ours, run by this interpreter."""
    return [sys.executable, "-m", name, *words]
