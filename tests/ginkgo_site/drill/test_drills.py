"""Drills on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ginkgo_site.drill.drills import DRILLS
from tests.support import stack as stacks

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    """All of them, run one after the other on one cluster."""
    done = stacks.run(tmp_path_factory.mktemp("drills"), "drill", "--json", timeout=3500)
    assert done.stdout, done.stderr
    found = {outcome["name"]: outcome for outcome in json.loads(done.stdout)}
    assert done.returncode == any(outcome["passed"] is False for outcome in found.values()), done.stderr
    return found


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("name", DRILLS)
def test_every_drill_passes(outcomes: dict[str, dict[str, Any]], name: str) -> None:
    outcome = outcomes[name]
    if outcome["passed"] is None:
        pytest.skip(outcome["skipped"])
    assert outcome["passed"], outcome


@pytest.mark.timeout(900)
def test_a_minute_of_random_failures_loses_nothing(tmp_path: Path) -> None:
    done = stacks.run(tmp_path, "drill", "chaos", "--minutes", "1", "--seed", "3", "--json", timeout=800)
    (outcome,) = json.loads(done.stdout)
    assert outcome["passed"], outcome
    assert 0 < outcome["injected"] <= len(outcome["faults"]), outcome
