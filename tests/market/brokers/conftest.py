from __future__ import annotations

import pytest

from tests.market.brokers.venue import SimulatedVenue


@pytest.fixture(params=[SimulatedVenue], ids=["simulation"])
def venue(request, topics, transactional_db):
    """A place to trade for each broker; add a new broker's here."""
    venue = request.param()
    yield venue
    venue.close()
