"""Components are found by name, path or entry point, and described from their declaration."""

from __future__ import annotations

import sys
import textwrap
from importlib.metadata import EntryPoint

import pytest

from portfolios.kernel import registry
from portfolios.kernel.config import ConfigErrors, Policy
from portfolios.kernel.registry import UnknownComponent, describe, describe_one, find, params_of
from tests.portfolios.kernel.harness import config

OWN = textwrap.dedent(
    '''
    from typing import Annotated

    import msgspec

    from portfolios.kernel.component import BUY, Signal, Strategy, param


    class NewHigh(Strategy):
        """Buys at each new high."""

        class Params(msgspec.Struct, frozen=True):
            patience: Annotated[int, param("Prices to wait", unit="bars", ge=0)] = 3

        class Memory(msgspec.Struct):
            seen: int = 0
            highest: float = 0.0

        def on_price(self, memory, tick):
            memory.seen += 1
            if tick.price > memory.highest:
                memory.highest = tick.price
                if memory.seen > self.params.patience:
                    return Signal(BUY, "a new high")
    '''
)


@pytest.fixture
def own_file(tmp_path, monkeypatch):
    (tmp_path / "my_new_high.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    yield "my_new_high"
    sys.modules.pop("my_new_high", None)
    registry._load.cache_clear()


def test_all_components_of_the_specification_are_there_by_kind():
    names = {info.name: info.kind for info in describe()}
    assert {name for name, kind in names.items() if kind == "strategy"} >= {
        "TrendFollowStrategy", "MeanReversionStrategy", "MomentumStrategy", "DualThrustStrategy",
    }  # fmt: skip
    assert {name for name, kind in names.items() if kind == "risk"} >= {
        "PositionRatioRisk", "LossLimitRisk", "ProfitTargetRisk", "MaxDrawdownRisk", "TradingTimeRisk",
    }  # fmt: skip
    assert {name for name, kind in names.items() if kind == "sizer"} >= {"FixedAmountSizer", "RatioSizer", "ATRSizer"}
    assert [info.kind for info in describe("sizer")] == ["sizer"] * len(describe("sizer"))


def test_a_parameter_is_described_with_type_range_unit_default_and_words():
    info = describe_one("TrendFollowStrategy")
    short = info.params[0]
    assert (short.name, short.type, short.required, short.default) == ("short_period", "integer", False, 5)
    assert (short.minimum, short.maximum, short.unit) == (1, 5000, "bars")
    assert short.doc == "Prices in the short average"
    assert info.doc.startswith("Crossing of two simple moving averages")


def test_every_parameter_of_every_component_is_documented():
    for info in describe():
        assert info.doc, info.name
        for parameter in info.params:
            assert parameter.doc, f"{info.name}.{parameter.name}"
            assert parameter.type in ("integer", "number", "boolean", "string", "list")


def test_a_policy_is_described_in_the_same_way():
    described = {parameter.name: parameter for parameter in params_of(Policy)}
    assert described["backpressure"].choices == ["catch_up", "conflate", "drop"]
    assert described["bar"].default == "tick"
    assert described["max_signal_age"].exclusive_minimum == 0
    assert described["max_signal_age"].type == "number"


@pytest.mark.parametrize("separator", [":", "."])
def test_a_component_of_ones_own_is_found_by_its_path(own_file, separator):
    name = f"{own_file}{separator}NewHigh"
    assert find(name, "strategy").__name__ == "NewHigh"
    assert describe_one(name).params[0].unit == "bars"


def test_an_installed_package_announces_components_by_entry_point(own_file, monkeypatch):
    point = EntryPoint("NewHigh", f"{own_file}:NewHigh", registry.ENTRY_POINT_GROUP)
    monkeypatch.setattr(registry, "_installed", lambda: {"NewHigh": point})
    assert find("NewHigh").__doc__ == "Buys at each new high."
    assert "NewHigh" in {info.name for info in describe("strategy")}
    registry._load.cache_clear()


@pytest.mark.parametrize(
    "name", ["", "Nothing", "no.such.module.Thing", "os:path", "portfolios.kernel.component:Strategy "]
)
def test_a_name_that_leads_nowhere_is_an_unknown_component(name):
    with pytest.raises(UnknownComponent):
        find(name)


@pytest.mark.parametrize(
    ("code", "says"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("def", "SyntaxError"),
        (
            "from portfolios.kernel.component import Strategy\nclass NewHigh(Strategy):\n  class Params: pass",
            "parameters",
        ),
    ],
)
def test_a_broken_module_of_ones_own_is_told_by_its_fault(own_file, tmp_path, code, says):
    (tmp_path / "my_new_high.py").write_text(code)
    with pytest.raises(UnknownComponent, match=says):
        find("my_new_high:NewHigh")


def test_a_component_that_cannot_be_made_is_a_fault_of_the_config(own_file, tmp_path):
    broken = OWN + "\n    def __init__(self, params):\n        raise OSError('no data')\n"
    (tmp_path / "my_new_high.py").write_text(broken)
    with pytest.raises(ConfigErrors, match="strategy: cannot be made: OSError: no data"):
        config("my_new_high:NewHigh")
