"""Where Redis is for the API's tests: as for the site's. No test is throttled by what another asked."""

from __future__ import annotations

import pytest

from portfolios.api.kit import throttles
from tests.ginkgo_site.conftest import live, redis_away

__all__ = ["live", "redis_away"]


@pytest.fixture(autouse=True)
def _unasked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(throttles, "COUNTERS", throttles.Counters())
