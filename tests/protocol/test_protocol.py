"""The protocol, simulated: the product's own threads, interleaved and killed at will by a seed (`tests.protocol`)."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

_QUICK = (
    "send before checkpoint",
    "checkpoint without the epoch condition",
    "engine without the duplicate check, nor a unique id",
)
"""Of the mutants those that are found within a few schedules; all of them are hunted in the slow tests."""


def simulate(*arguments: str, timeout: float = 220) -> subprocess.CompletedProcess[str]:
    """In a process of its own: it replaces half of the product's surroundings. Not measured: that would be slow."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE_")}
    command = [sys.executable, "-m", "tests.protocol", *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=timeout, check=False)


def facts(*arguments: str, timeout: float = 220) -> Any:
    done = simulate("--json", *arguments, timeout=timeout)
    assert done.stdout, done.stderr[-3000:]
    return json.loads(done.stdout)


@pytest.mark.timeout(600)
def test_in_five_thousand_schedules_no_invariant_is_broken() -> None:
    found = facts("--schedules", "5000", timeout=580)
    assert found["failures"] == []
    assert found["steps"] > 5000 * 100


def test_a_seed_is_the_same_history_every_time() -> None:
    first, second = (simulate("--schedules", "20", "--digest", "--jobs", "1").stdout for _ in range(2))
    assert len(set(first.split())) > 30
    assert first == second


@pytest.mark.slow
def test_the_database_in_memory_does_what_the_sql_does() -> None:
    """The same schedules on Django's SQL and on ours, to the last statement: `digest` has every draw in it."""
    arguments = ("--schedules", "10", "--digest", "--jobs", "1")
    by_sql, in_memory = (simulate(*arguments, "--store", store).stdout for store in ("sql", "serial"))
    assert len(by_sql.splitlines()) == 10
    assert by_sql == in_memory


@pytest.mark.parametrize("mutant", _QUICK)
def test_it_can_fail(mutant: str) -> None:
    found = facts("--mutant", mutant, "--schedules", "60", "--jobs", "1")
    assert found["failures"]


def test_a_schedule_that_fails_is_told_step_by_step_and_says_how_to_see_it_again() -> None:
    many = simulate("--mutant", _QUICK[0], "--schedules", "20", "--jobs", "1")
    assert many.returncode == 1
    again = next(line for line in many.stdout.splitlines() if "again:" in line)
    seed = again.split("--seed ")[1].split()[0]
    one = simulate("--seed", seed, "--mutant", _QUICK[0])
    assert one.returncode == 1
    assert "checkpointer" in one.stdout
    assert "VIOLATION: " in one.stdout
    assert simulate("--seed", seed).returncode == 0


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_in_a_hundred_thousand_schedules_no_invariant_is_broken() -> None:
    assert facts("--schedules", "100000", "--first", "1000001", timeout=5300)["failures"] == []


@pytest.mark.slow
@pytest.mark.timeout(5400)
def test_each_mutant_is_found_within_ten_thousand_schedules() -> None:
    found = facts("--mutants", "10000", timeout=5300)
    assert {name: each["what"] for name, each in found.items() if not each["seed"]} == {}


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_database_in_memory_does_what_the_sql_does_in_many_schedules() -> None:
    arguments = ("--schedules", "500", "--first", "1001", "--digest")
    by_sql, in_memory = (simulate(*arguments, "--store", store, timeout=850).stdout for store in ("sql", "serial"))
    assert len(by_sql.splitlines()) == 500
    assert by_sql == in_memory
