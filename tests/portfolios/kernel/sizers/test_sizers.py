"""How much each sizer buys."""

from __future__ import annotations

from typing import Any

import pytest

from tests.portfolios.kernel import scripted
from tests.portfolios.kernel.harness import CODE, Market, close_of, config, tick


def bought(sizer: str, params: dict[str, Any], bars: list[tuple[float, float, float]], code: str = CODE) -> list[int]:
    """Volumes ordered when the strategy buys at the last of some (low, high, close) bars."""
    script = [0] * (len(bars) - 1) + [1]
    market = Market(config(scripted.PATH, {"script": script}, sizer=sizer, sizer_params=params, codes=[code]))
    for number, (low, high, close) in enumerate(bars):
        market.show(tick(close, close_of(number), code, low=low, high=high))
    return [order.volume for order in market.orders]


@pytest.mark.parametrize(
    ("code", "amount", "volume"),
    [(CODE, 10_500, [1_000]), (CODE, 999, []), ("688981.SH", 2_050, [205]), ("688981.SH", 1_999, [])],
)
def test_a_fixed_amount_buys_whole_lots_of_the_board(code, amount, volume):
    assert bought("FixedAmountSizer", {"amount": amount}, [(10, 10, 10.0)], code) == volume


def test_a_ratio_of_the_total_value():
    assert bought("RatioSizer", {"ratio": 0.25}, [(10, 10, 10.0)]) == [25_000]


def test_the_average_true_range_sets_what_a_move_may_cost():
    # True ranges: 10.2 - 9.8 = 0.4; max(10.1, 10) - 9.8 = 0.3; gap from 10 to 10.5: 10.5 - 10 = 0.5. Mean 0.4.
    bars = [(9.9, 10.1, 10.0), (9.8, 10.2, 10.0), (9.8, 10.1, 10.0), (10.4, 10.5, 10.5)]
    assert bought("ATRSizer", {"risk": 1, "period": 3, "multiple": 2}, bars) == [12_500]


def test_nothing_is_bought_before_the_average_is_full():
    assert bought("ATRSizer", {"period": 3}, [(9.9, 10.1, 10.0)] * 3) == []
