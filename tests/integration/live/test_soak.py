"""A soak: an hour of a full market, after which everything holds as much as before (SPEC section 11).

`GINKGO_SOAK_MINUTES` makes it another time than an hour.
"""

from __future__ import annotations

import json
import os
from typing import Any

import pytest

from ginkgo_site.bench import servers, trend
from ginkgo_site.bench.figures import median
from ginkgo_site.bench.programs import attended, module

MINUTES = float(os.environ.get("GINKGO_SOAK_MINUTES", "60"))
PROCESSES = ("node", "engine", "scheduler")
MUST_MB = 200


@pytest.fixture(scope="module")
def soak() -> dict[str, Any]:
    """What was measured once windows, queues and caches were full."""
    with servers.running() as env:
        said = attended("the soak", module("ginkgo_site.bench.soak", str(MINUTES)), MINUTES * 60 + 600, env)
    found: dict[str, Any] = json.loads(said)
    begin = found["seconds"][-1] / 5  # three minutes of fifteen
    kept = [number for number, at in enumerate(found["seconds"]) if at >= begin]
    for name in PROCESSES:
        for what, values in found[name].items():
            found[name][what] = [values[number] for number in kept]
    found["seconds"] = [found["seconds"][number] for number in kept]
    return found


pytestmark = [pytest.mark.slow, pytest.mark.timeout(int(MINUTES * 60) + 900)]


@pytest.mark.parametrize("name", PROCESSES)
def test_memory_is_flat(soak: dict[str, Any], name: str) -> None:
    found = trend.of(soak["seconds"], soak[name]["memory"], group=min(60.0, soak["seconds"][-1] / 20))
    print(f"{name}: {found.level:.0f} MB, {found.per_hour:+.2f} MB an hour, noise {found.noise:.2f} MB")
    assert found.flat, found
    if name == "node":
        assert found.level <= MUST_MB


@pytest.mark.parametrize("what", ["threads", "files"])
@pytest.mark.parametrize("name", PROCESSES)
def test_threads_and_files_stay_as_many(soak: dict[str, Any], name: str, what: str) -> None:
    """Not more at the end than at the beginning; two for a moment are connections that are opened and closed."""
    values = soak[name][what]
    third = len(values) // 3
    assert median(values[-third:]) <= median(values[:third])
    assert max(values[-third:]) <= max(values[:third]) + 2


def test_the_portfolios_were_at_work(soak: dict[str, Any]) -> None:
    assert soak["applied"] >= soak["messages"] // 2
    assert soak["orders"] > 100
