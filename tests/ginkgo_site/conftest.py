"""Where Redis is, for the tests of what reads it: away, or a database of their own in the run's server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
import redis
from pytest_django import Settings

from ginkgo_site.addresses import resolve
from portfolios import livestate
from tests.support.stack import RunningStack


@pytest.fixture
def redis_away(settings: Settings) -> None:
    """An address where nobody listens, whatever stack may run."""
    away = replace(resolve(settings.GINKGO), redis="redis://127.0.0.1:1/0")
    settings.GINKGO_RESOLVE = lambda: away


@pytest.fixture
def live(stack: RunningStack, settings: Settings) -> Iterator[redis.Redis]:
    """An empty database of the run's Redis, which the code under test uses too."""
    mine = replace(resolve(settings.GINKGO), redis=stack.redis.rpartition("/")[0] + "/9")
    settings.GINKGO_RESOLVE = lambda: mine
    client = livestate.client()
    client.flushdb()
    yield client
    client.flushdb()
