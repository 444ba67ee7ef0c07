"""Configurations: what is refused, with which words; what has changed."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from portfolios import configs
from portfolios.errors import InvalidConfig

GOOD: dict[str, Any] = {
    "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 2, "long_period": 5}},
    "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 8}}],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 100_000}},
    "codes": ["600519.SH", "000001.SZ"],
}


def _with(**changes: Any) -> dict[str, Any]:
    return {**GOOD, **changes}


def test_a_good_config_is_stored_as_it_was_given() -> None:
    assert configs.validate(GOOD, "cn") == GOOD


def test_every_fault_is_told_at_once_with_its_path() -> None:
    faulty = _with(
        strategy={"name": "TrendFollowStrategy", "params": {"short_period": 9, "long_period": 5, "x": 1}},
        risk_managements=[{"name": "Nope"}],
        codes=["600519.SX"],
        policy={"backpressure": "panic"},
    )
    with pytest.raises(InvalidConfig) as raised:
        configs.validate(faulty, "cn")
    assert [fault.path for fault in raised.value.faults] == [
        "strategy.params.x",
        "risk_managements[0].name",
        "codes[0]",
        "policy.backpressure",
    ]


def test_what_json_cannot_carry_is_refused() -> None:
    sizer = {"name": "FixedAmountSizer", "params": {"amount": float("nan")}}
    assert [fault.path for fault in configs.faults_of(_with(sizer=sizer), "cn")] == ["config"]


def test_an_unknown_market_is_a_fault_of_its_own() -> None:
    assert [fault.path for fault in configs.faults_of(GOOD, "moon")] == ["market"]


@pytest.mark.parametrize(("given", "cash"), [("1000000", "1000000"), (1_000_000, "1000000"), ("0.0001", "0.0001")])
def test_cash_is_exact(given: object, cash: str) -> None:
    assert configs.cash_of(given) == (Decimal(cash), [])


@pytest.mark.parametrize("given", ["0", "-1", "x", "", None, "NaN", "Infinity", "1e15", "0.00001", "0.00000001"])
def test_impossible_cash_is_refused(given: object) -> None:
    cash, faults = configs.cash_of(given)
    assert cash is None
    assert [fault.path for fault in faults] == ["initial_cash"]


def test_a_difference_names_the_path_and_both_values() -> None:
    after = _with(
        strategy={"name": "TrendFollowStrategy", "params": {"short_period": 3, "long_period": 5}},
        risk_managements=[],
        policy={"pyramiding": True},
    )
    assert [str(change) for change in configs.diff(GOOD, after)] == [
        "policy.pyramiding: nothing → true",
        "risk_managements: nothing → []",
        'risk_managements[0].name: "LossLimitRisk" → nothing',
        "risk_managements[0].params.loss_limit: 8 → nothing",
        "strategy.params.short_period: 2 → 3",
    ]
