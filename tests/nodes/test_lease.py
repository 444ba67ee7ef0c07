from __future__ import annotations

import pytest

from nodes.lease import Lease
from tests.nodes.support import Clock


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def lease(clock: Clock) -> Lease:
    return Lease(30, clock)


def test_there_is_none_before_the_first_heartbeat(lease: Lease) -> None:
    assert not lease.valid


def test_it_lasts_five_sixths_of_the_ttl_from_before_the_write(lease: Lease, clock: Clock) -> None:
    begun = lease.now()
    clock.now += 3  # the write took so long
    lease.renew(begun)
    clock.now = begun + 24.9
    assert lease.valid
    assert lease.left == pytest.approx(0.1)
    clock.now = begun + 25
    assert not lease.valid


def test_a_heartbeat_that_was_written_late_does_not_shorten_a_newer_one(lease: Lease, clock: Clock) -> None:
    lease.renew(clock.now)
    lease.renew(clock.now - 20)
    assert lease.left == 25


def test_renewed_in_time_it_stays_in_one_term(lease: Lease, clock: Clock) -> None:
    lease.renew(clock.now)
    first = lease.term
    for _ in range(5):
        clock.now += 10
        lease.renew(clock.now)
    assert lease.term == first


def test_renewed_after_it_was_over_it_begins_a_new_term(lease: Lease, clock: Clock) -> None:
    lease.renew(clock.now)
    first = lease.term
    clock.now += 26
    assert not lease.valid
    lease.renew(clock.now)
    assert lease.valid
    assert lease.term == first + 1
