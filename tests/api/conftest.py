"""Where Redis is for the API's tests: as for the site's."""

from __future__ import annotations

from tests.ginkgo_site.conftest import live, redis_away

__all__ = ["live", "redis_away"]
