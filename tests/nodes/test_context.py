"""What the portfolios of a node share."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from django.conf import settings

from nodes import context


@pytest.mark.parametrize(
    ("options", "rate"),
    [({}, None), ({"commission_rate": 0.001}, 0.001), ({"commission_rate": {"hk": 0.002}}, None),
     ({"commission_rate": {"cn": 0.002}}, 0.002), ({"commission_rate": "free"}, None)],
)  # fmt: skip
def test_portfolios_reckon_with_the_commission_of_the_engines_broker(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], rate: float | None
) -> None:
    asked = SimpleNamespace(brokers={"mine": options}, engine=SimpleNamespace(broker="mine"))
    monkeypatch.setattr(settings, "GINKGO", asked)
    assert context._commission("cn") == rate
