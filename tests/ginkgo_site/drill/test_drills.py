"""Drills on a real cluster."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.support import stack as stacks

pytestmark = pytest.mark.slow


@pytest.mark.timeout(2700)
def test_every_drill_passes(tmp_path: Path) -> None:
    done = stacks.run(tmp_path, "drill", "--json", timeout=2600)
    outcomes = json.loads(done.stdout)
    assert {o["name"]: o for o in outcomes if not o["passed"]} == {}
    assert done.returncode == 0, done.stderr


@pytest.mark.timeout(900)
def test_a_minute_of_random_failures_loses_nothing(tmp_path: Path) -> None:
    done = stacks.run(tmp_path, "drill", "chaos", "--minutes", "1", "--seed", "3", "--json", timeout=800)
    (outcome,) = json.loads(done.stdout)
    assert outcome["passed"], outcome
