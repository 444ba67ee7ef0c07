"""A log of the test's own: a real Kafka with all topics, and codes that no other test uses."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator

import pytest

from market import bus, topic_admin
from tests.nodes.log import Log
from tests.nodes.support import Alerts
from tests.support.stack import RunningStack

_numbers = itertools.count(100)


@pytest.fixture(scope="session")
def topics_there(stack: RunningStack) -> None:
    topic_admin.create_topics()


@pytest.fixture
def log(topics_there: None) -> Iterator[Log]:
    log = Log()
    yield log
    log.close()


@pytest.fixture
def alerts() -> Alerts:
    return Alerts()


@pytest.fixture
def new_code() -> Callable[[int | None], str]:
    """A code nobody else uses, in the given partition of the A-shares' topic, if that matters."""

    def make(partition: int | None = None) -> str:
        while True:
            code = f"600{next(_numbers)}.SH"
            if partition is None or bus.partition_of(code, 10) == partition:
                return code

    return make
