"""The simulated broker passes the suite that every broker must pass (SPEC M5)."""

from __future__ import annotations

import pytest

from market.brokers.conformance import Conformance

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.servers]


class TestSimulatedBroker(Conformance):
    """`venue` is conftest's."""
