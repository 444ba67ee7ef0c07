"""Kafka with all topics, for tests of the data plane in this process."""

from __future__ import annotations

import pytest

from market.topic_admin import create_topics
from tests.support.stack import RunningStack


@pytest.fixture(scope="session")
def topics(stack: RunningStack) -> RunningStack:
    create_topics()
    return stack
