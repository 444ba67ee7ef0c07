"""The benchmarks there are, and how one is run: servers of its own where it needs them, a process of its own always."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Mapping, Sequence

import msgspec

from ginkgo_site.bench import servers
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.programs import module
from ginkgo_site.supervisor.detach import environment

_TIMEOUT_S = 900.0
_ENDS_S = 90.0
"""For the nodes and servers that one has started to stop in order."""
NEEDS_SERVERS = {
    "routing": True,
    "latency": True,
    "reload": True,
    "migration": True,
    "failover": True,
    "backtest": False,
    "planner": False,
    "memory": True,
    "api": True,
}
NAMES = tuple(NEEDS_SERVERS)


def run(names: Sequence[str]) -> list[Outcome]:
    """All of them, one after the other. Raises BenchError at the first that cannot be run."""
    return [outcome for name in names for outcome in run_one(name)]


def run_one(name: str) -> list[Outcome]:
    if not NEEDS_SERVERS[name]:
        return _run(name, {})
    with servers.running() as env:
        return _run(name, env)


def _run(name: str, env: Mapping[str, str]) -> list[Outcome]:
    process = subprocess.Popen(
        module("ginkgo_site.bench.one", name),
        env={**environment(), **env},
        stdin=subprocess.PIPE,  # its end stops all that the benchmark has started, however we end
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None and process.stdout is not None
    watch = threading.Timer(_TIMEOUT_S, process.stdin.close)
    watch.start()
    try:
        said = process.stdout.read()
        code = process.wait(_ENDS_S)
    finally:
        watch.cancel()
        process.stdin.close()
        process.wait(_ENDS_S)
    if code != 0:
        raise BenchError(f"{name} was not measured (exit code {code})")
    return msgspec.json.decode(said.splitlines()[-1], type=list[Outcome])
