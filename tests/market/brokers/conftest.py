from __future__ import annotations

import pytest

from tests.market.brokers.venue import SimulatedVenue


@pytest.fixture
def venue(topics, transactional_db):
    venue = SimulatedVenue()
    yield venue
    venue.close()
