from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nodes.backpressure import Policy, decide

POLICIES = get_args(Policy)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_queue_with_room_takes_all_and_says_nothing(policy: Policy) -> None:
    assert decide(policy, queued=100, arriving=50, limit=1000) == (50, False, "")


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(("queued", "level"), [(698, ""), (699, "warning"), (948, "warning"), (949, "critical")])
def test_alerts_begin_at_70_and_95_percent(policy: Policy, queued: int, level: str) -> None:
    assert decide(policy, queued, arriving=1, limit=1000).level == level


def test_catch_up_fills_the_queue_and_leaves_the_rest_in_the_log() -> None:
    assert decide("catch_up", queued=990, arriving=50, limit=1000) == (10, True, "critical")


@pytest.mark.parametrize("policy", ["drop", "conflate"])
def test_the_lossy_policies_apply_from_95_percent_and_never_halt(policy: Policy) -> None:
    assert decide(policy, queued=940, arriving=50, limit=1000) == (10, False, "critical")


def test_a_queue_fuller_than_its_limit_takes_nothing() -> None:
    assert decide("drop", queued=1200, arriving=1, limit=1000).take == 0


@given(st.sampled_from(POLICIES), st.integers(0, 3000), st.integers(1, 3000), st.integers(10, 2000))
def test_never_more_than_fits_and_only_catch_up_halts_exactly_when_it_leaves_something(
    policy: Policy, queued: int, arriving: int, limit: int
) -> None:
    decision = decide(policy, queued, arriving, limit)
    assert 0 <= decision.take <= arriving
    assert queued >= limit or queued + decision.take <= limit
    assert decision.halt == (policy == "catch_up" and decision.take < arriving)
