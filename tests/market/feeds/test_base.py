"""Going on after what was published, without a server."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from market.feeds.base import Batch, Published, unpublished
from portfolios.kernel.events import PriceUpdate

START = datetime(2024, 1, 2, 7, 0, tzinfo=UTC)


def _tick(code: str, day: int) -> PriceUpdate:
    return PriceUpdate(code=code, timestamp=START + timedelta(days=day), price=10.0 + day)


def _story() -> list[Batch]:
    return [Batch(1.0, [_tick("A", day), _tick("B", day)]) for day in range(4)]


def _told(published: Published) -> list[tuple[str, int]]:
    batches = unpublished(_story(), published)
    return [(tick.code, (tick.timestamp - START).days) for batch in batches for tick in batch.ticks]


def test_nothing_published_means_the_whole_story() -> None:
    assert _told(Published()) == [(code, day) for day in range(4) for code in "AB"]


def test_a_half_published_batch_is_completed() -> None:
    published = Published(START + timedelta(days=2), {"A": _tick("A", 2), "B": _tick("B", 1)})
    assert _told(published) == [("B", 2), ("A", 3), ("B", 3)]


def test_a_whole_batch_is_not_told_again_even_to_codes_that_nobody_wanted() -> None:
    published = Published(START + timedelta(days=2), {"A": _tick("A", 2)}, whole=True)
    assert _told(published) == [("A", 3), ("B", 3)]


def test_a_moment_between_two_batches_goes_on_with_the_later() -> None:
    published = Published(START + timedelta(days=1, hours=3), {"C": _tick("C", 1)})
    assert _told(published) == [("A", 2), ("B", 2), ("A", 3), ("B", 3)]
