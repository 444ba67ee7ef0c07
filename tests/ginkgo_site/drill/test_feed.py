"""Whatever a portfolio decides at a code's last tick has a price to be matched at."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from ginkgo_site.drill import feed as feeds
from ginkgo_site.drill.feed import Feed
from market.messages import PriceUpdate
from tests.support.eventually import eventually


class FakeKafka:
    """Takes all at once; `numbers` by code."""

    def __init__(self) -> None:
        self.numbers: dict[str, int] = {}

    def produce(self, _topic: str, *, key: str, value: bytes, on_delivery: Callable[..., None]) -> None:
        self.numbers[key] = msgspec.json.decode(value, type=PriceUpdate).bid_volume or 0
        on_delivery(None, None)

    def poll(self, _timeout: float) -> None: ...
    def flush(self, _timeout: float) -> None: ...


@pytest.mark.parametrize("enough", range(20, 32))
def test_no_codes_last_tick_is_one_that_is_ordered_at(enough: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The slow portfolio orders at other ticks than the rest."""
    kafka = FakeKafka()
    made: list[dict[str, Any]] = []
    monkeypatch.setattr(feeds.bus, "make_producer", lambda _name, **options: made.append(options) or kafka)
    every = {"D1.US": 10, "D2.US": 7, "D3.US": 2}
    feed = Feed(every, 3000.0)
    feed.start()
    eventually(lambda: feed.sent["D3.US"] >= enough, timeout=10)
    feed.stop()
    assert feed.sent == kafka.numbers
    assert all(number % every[code] for code, number in feed.sent.items()), feed.sent
