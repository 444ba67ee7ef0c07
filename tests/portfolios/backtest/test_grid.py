"""The grid of a sweep: what is tried, what is left out, what is a fault."""

from __future__ import annotations

from typing import Any

import pytest

from portfolios.backtest.grid import Point, axes_of, points_of
from portfolios.errors import InvalidConfig
from tests.portfolios.backtest.support import document

SHORT, LONG = "strategy.params.short_period", "strategy.params.long_period"
BASE = document(params={"short_period": 5, "long_period": 20}, risks={"LossLimitRisk": {"loss_limit": 8}})


def points(*texts: str, base: Any = BASE) -> list[Point]:
    return points_of(base, axes_of(texts), None)


def faults(*texts: str, base: Any = BASE) -> list[str]:
    with pytest.raises(InvalidConfig) as raised:
        points(*texts, base=base)
    return [str(fault) for fault in raised.value.faults]


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=3,5,8", (3, 5, 8)),
        ("a=10..30..10", (10, 20, 30)),
        ("a=1..4", (1, 2, 3, 4)),
        ("a=0.1..0.45..0.1", (0.1, 0.2, 0.3, 0.4)),
        ("a=1..2..0.5", (1.0, 1.5, 2.0)),
        ("a=-2..2..2", (-2, 0, 2)),
        ("a=true,false", (True, False)),
        ("a=RatioSizer,ATRSizer", ("RatioSizer", "ATRSizer")),
        ('a=["600519.SH"],["600519.SH","000001.SZ"]', (["600519.SH"], ["600519.SH", "000001.SZ"])),
    ],
)
def test_values_are_a_list_or_a_range_with_both_ends(text: str, values: tuple[Any, ...]) -> None:
    (axis,) = axes_of([text])
    assert axis == ("a", values)
    assert [type(value) for value in axis.values] == [type(value) for value in values]


def test_every_combination_is_a_configuration_of_its_own_in_the_order_of_the_grid() -> None:
    found = points(f"{SHORT}=3,5", f"{LONG}=10,20", "risk_managements[0].params.loss_limit=4,6")
    assert len(found) == 8
    assert found[1].values == {SHORT: 3, LONG: 10, "risk_managements[0].params.loss_limit": 6}
    assert found[1].config["strategy"]["params"] == {"short_period": 3, "long_period": 10}
    assert found[1].config["risk_managements"][0]["params"] == {"loss_limit": 6}
    assert not any(point.fault for point in found)
    assert BASE["strategy"]["params"] == {"short_period": 5, "long_period": 20}


def test_a_combination_whose_values_do_not_go_together_is_left_out_and_says_why() -> None:
    found = points(f"{SHORT}=5,15,30", f"{LONG}=10,20")
    assert [(*point.values.values(), bool(point.fault)) for point in found] == [
        (5, 10, False), (5, 20, False), (15, 10, True), (15, 20, False), (30, 10, True), (30, 20, True),
    ]  # fmt: skip
    assert found[2].fault == f"{SHORT}: must be smaller than long_period (10), got 15"


def test_parameters_of_a_component_that_is_swept_itself_leave_the_others_combinations_out() -> None:
    found = points("strategy.name=TrendFollowStrategy,MomentumStrategy", f"{SHORT}=3,5")
    assert [bool(point.fault) for point in found] == [False, False, True, True]


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ((f"{SHORT}=3,x",), [f"{SHORT}: must be int, got 'x'"]),
        (
            (f"{SHORT}=3,x,9999", "sizer.params.amount=-1"),
            [f"{SHORT}: must be int, got 'x'", f"{SHORT}: must be int <= 5000", "sizer.params.amount: must be"],
        ),
        (("strategy.name=Nothing,TrendFollowStrategy",), ["strategy.name: "]),
        (("strategy.params.shrt=3",), ["strategy.params.shrt: is unknown here"]),
        (("strategy.params.shrt=3,4", f"{SHORT}=0"), ["strategy.params.shrt: is", f"{SHORT}: must be int >= 1"]),
        (("codes=[]",), ["codes: is required"]),
        ((f"{SHORT}=30,40",), [f"{SHORT}: must be smaller than long_period (20), got 30"]),
        (("risk_managements[1].params.loss_limit=3",), ["--grid: the configuration has no place risk_managements[1]"]),
        (("strategy.name.short=3",), ["--grid: the configuration has no place strategy.name.short"]),
        (("a..b=3",), ["--grid: 'a..b' is no place such as"]),
        ((), ["--grid: is missing"]),
        (("short",), ["--grid: must be PLACE=VALUES"]),
        (
            (f"{SHORT}=", f"{LONG}=9..1", "sizer.params.amount=1,1"),
            [f"--grid: {SHORT} has a value", f"--grid: {LONG} must be a range", "--grid: sizer.params.amount has 1"],
        ),
        ((f"{SHORT}=3", f"{SHORT}=4"), [f"--grid: {SHORT} is given twice"]),
        ((f"{SHORT}=1..200", f"{LONG}=201..400"), ["--grid: has 40,000 combinations: at most 10,000"]),
        ((f"{SHORT}=1..1000000000",), [f"--grid: {SHORT} has more than 10,000 values"]),
    ],
)  # fmt: skip
def test_each_fault_is_told_once_and_all_of_them_before_anything_runs(texts: tuple[str, ...], said: list[str]) -> None:
    found = faults(*texts)
    assert len(found) == len(said), found
    assert all(fault.startswith(start) for fault, start in zip(found, said, strict=True)), found


def test_faults_of_the_rest_of_the_configuration_are_told_too() -> None:
    broken = {**BASE, "sizer": {"name": "FixedAmountSizer", "params": {"amount": "much"}}}
    assert [fault.partition(":")[0] for fault in faults(f"{SHORT}=0,3", base=broken)] == [SHORT, "sizer.params.amount"]
    assert faults(f"{SHORT}=3", base=[]) == ["config: must be an object"]
