"""The benchmarks there are, and how one is run: servers of its own where it needs them, a process of its own always."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from ginkgo_site.bench import servers
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.programs import attended, module

_TIMEOUT_S = 900.0
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
    said = attended(name, module("ginkgo_site.bench.one", name), _TIMEOUT_S, env)
    return msgspec.json.decode(said, type=list[Outcome])
