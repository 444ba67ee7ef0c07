"""The strategy in the documentation is one that works when it is typed in."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from portfolios.kernel import registry
from portfolios.kernel.config import ConfigErrors
from portfolios.kernel.orders import BUY, SELL
from portfolios.kernel.portfolio import Portfolio
from tests.portfolios.kernel.harness import PORTFOLIO_ID, Market, config

DOCUMENT = Path(__file__).resolve().parents[3] / "docs" / "writing-a-strategy.md"
NAME = "my_breakout:BreakoutStrategy"


@pytest.fixture(autouse=True)
def typed_in(tmp_path, monkeypatch):
    code = re.search(r"```python\n(.*?)```", DOCUMENT.read_text(), re.DOTALL)
    assert code is not None
    (tmp_path / "my_breakout.py").write_text(code[1])
    monkeypatch.syspath_prepend(tmp_path)
    yield
    sys.modules.pop("my_breakout", None)
    registry._load.cache_clear()


def test_it_trades_and_survives_a_restart():
    market = Market(config(NAME, {"period": 3}))
    market.closes([10.0, 10.1, 10.0, 10.2, 10.2, 10.1, 10.0])
    assert [order.direction for order in market.orders] == [BUY, SELL]
    state = market.portfolio.snapshot()
    assert Portfolio.restore(state, PORTFOLIO_ID, market.portfolio.config, market.rules).snapshot() == state


def test_its_parameters_are_listed_and_validated():
    (period,) = registry.describe_one(NAME).params
    assert (period.name, period.minimum, period.maximum, period.unit, period.default) == ("period", 2, 500, "bars", 20)
    with pytest.raises(ConfigErrors, match=r"strategy\.params\.period: must be int >= 2, got 1"):
        config(NAME, {"period": 1})
