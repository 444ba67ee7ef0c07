"""Every fault of a config is found, all at once, each with its path; and a good one comes out typed."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from portfolios.kernel.config import ConfigErrors, parse
from portfolios.kernel.strategies.trend_follow import TrendFollowStrategy

GOOD: dict[str, Any] = {
    "strategy": {"strategy_id": "s1", "name": "TrendFollowStrategy", "params": {"short_period": 5, "long_period": 20}},
    "risk_managements": [
        {"risk_id": "r1", "name": "PositionRatioRisk", "params": {"max_position_ratio": 0.2}},
        {"name": "LossLimitRisk", "params": {"loss_limit": 10}},
    ],
    "sizer": {"name": "FixedAmountSizer", "params": {"amount": 10000}},
    "codes": ["600519.SH", "000001.SZ"],
    "policy": {"bar": "1d", "max_signal_age": 60, "st": ["000001.SZ"]},
}


def faults(config: Any, market: str | None = "cn") -> dict[str, str]:
    with pytest.raises(ConfigErrors) as caught:
        parse(config, market)
    assert all(str(fault) in str(caught.value) for fault in caught.value.faults)
    return {fault.path: fault.message for fault in caught.value.faults}


def changed(path: str, value: Any) -> dict[str, Any]:
    """GOOD with the value at a dotted path replaced; `...` takes it away."""
    config = copy.deepcopy(GOOD)
    *parents, last = path.split(".")
    place: Any = config
    for name in parents:
        place = place[int(name) if name.isdigit() else name]
    if value is ...:
        del place[last]
    else:
        place[int(last) if last.isdigit() else last] = value
    return config


def test_a_good_config_comes_out_typed_with_its_defaults():
    config = parse(GOOD, "cn")
    assert config.strategy.params == TrendFollowStrategy.Params(short_period=5, long_period=20)
    assert config.strategy.id == "s1"
    assert config.risk_managements[0].params.max_total_position_ratio == 0.8
    assert config.codes == ["600519.SH", "000001.SZ"]
    assert config.policy.backpressure == "catch_up"
    assert config.policy.max_signal_age == 60
    assert config.policy.pyramiding is False


def test_only_strategy_sizer_and_codes_are_needed():
    config = parse({key: GOOD[key] for key in ("strategy", "sizer", "codes")})
    assert config.risk_managements == []
    assert config.policy.bar == "tick"


@pytest.mark.parametrize(
    ("path", "value", "at", "says"),
    [
        ("strategy", ..., "strategy", "is required"),
        ("strategy", None, "strategy", "is required"),
        ("strategy", "TrendFollowStrategy", "strategy", "must be an object"),
        ("strategy.name", ..., "strategy.name", "is required"),
        ("strategy.name", 7, "strategy.name", "must be a name"),
        ("strategy.name", "NoSuchStrategy", "strategy.name", "no component 'NoSuchStrategy'"),
        ("strategy.name", "no_such_package.module:Thing", "strategy.name", "cannot load"),
        ("strategy.name", "os.path:join", "strategy.name", "is not a strategy"),
        ("strategy.name", "LossLimitRisk", "strategy.name", "is a risk, not a strategy"),
        ("strategy.colour", "red", "strategy.colour", "is unknown"),
        ("strategy.strategy_id", 3, "strategy.strategy_id", "must be a string"),
        ("strategy.params", [], "strategy.params", "must be an object"),
        ("strategy.params.short_period", 0, "strategy.params.short_period", ">= 1"),
        ("strategy.params.short_period", 20, "strategy.params.short_period", "smaller than long_period (20)"),
        ("strategy.params.short_period", 5.5, "strategy.params.short_period", "int"),
        ("strategy.params.short_period", "5", "strategy.params.short_period", "got '5'"),
        ("strategy.params.short_period", True, "strategy.params.short_period", "int"),
        ("strategy.params.short_period", None, "strategy.params.short_period", "got None"),
        ("strategy.params.long_period", 10**9, "strategy.params.long_period", "<= 5000"),
        ("strategy.params.speed", 1, "strategy.params.speed", "is unknown"),
        ("risk_managements", {}, "risk_managements", "must be a list"),
        ("risk_managements.1", "x", "risk_managements[1]", "must be an object"),
        ("risk_managements.1.name", "RatioSizer", "risk_managements[1].name", "is a sizer, not a risk"),
        ("risk_managements.0.params.max_position_ratio", 1.5, "risk_managements[0].params.max_position_ratio", "<= 1"),
        ("risk_managements.1.params.loss_limit", 0, "risk_managements[1].params.loss_limit", "> 0"),
        ("risk_managements.1.strategy_id", "x", "risk_managements[1].strategy_id", "is unknown"),
        ("sizer", ..., "sizer", "is required"),
        ("sizer.params", ..., "sizer.params.amount", "is required"),
        ("sizer.params.amount", -5, "sizer.params.amount", "> 0"),
        ("sizer.params.amount", float("nan"), "sizer.params.amount", "nan"),
        ("codes", ..., "codes", "is required"),
        ("codes", [], "codes", "at least one"),
        ("codes", "600519.SH", "codes", "must be a list"),
        ("codes.1", "AAPL.US", "codes[1]", "market us"),
        ("codes.1", "nonsense", "codes[1]", "not a well-formed code"),
        ("codes.1", 5, "codes[1]", "must be a string"),
        ("codes.1", "600519.SH", "codes[1]", "given twice"),
        ("policy", [], "policy", "must be an object"),
        ("policy.backpressure", "panic", "policy.backpressure", "got 'panic'"),
        ("policy.bar", "2m", "policy.bar", "got '2m'"),
        ("policy.max_signal_age", 0, "policy.max_signal_age", "> 0"),
        ("policy.min_signal_interval", -1, "policy.min_signal_interval", ">= 0"),
        ("policy.pyramiding", "yes", "policy.pyramiding", "bool"),
        ("policy.haste", 1, "policy.haste", "is unknown"),
        ("policy.st", ["600000.SH"], "policy.st[0]", "not one of the portfolio's codes"),
        ("policy.st", [5], "policy.st[0]", "got"),
        ("colour", "red", "colour", "is unknown"),
    ],
)  # fmt: skip
def test_each_fault_is_named_with_its_path(path, value, at, says):
    found = faults(changed(path, value))
    assert at in found, found
    assert says in found[at]


def test_all_faults_of_a_config_are_told_at_once():
    found = faults(
        {
            "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": 0, "long_period": "x"}},
            "risk_managements": [{"name": "LossLimitRisk", "params": {"loss_limit": 100}}, {"name": "Nothing"}],
            "sizer": {"name": "FixedAmountSizer"},
            "codes": ["00700.HK", "x"],
            "policy": {"bar": "3d"},
            "extra": 1,
        }
    )
    assert set(found) == {
        "extra", "strategy.params.short_period", "strategy.params.long_period", "risk_managements[0].params.loss_limit",
        "risk_managements[1].name", "sizer.params.amount", "codes[0]", "codes[1]", "policy.bar",
    }  # fmt: skip


@pytest.mark.parametrize("config", [None, [], "x", 3])
def test_what_is_not_an_object_at_all_is_one_fault(config):
    assert faults(config) == {"config": faults(config)["config"]}


def test_without_a_market_codes_must_still_be_of_one():
    assert "one market" in faults(changed("codes.1", "AAPL.US"), market=None)["codes"]
