"""A backtest's orders are judged as the engine would judge them."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.conf import settings

from market.backtest_gate import EngineGate
from portfolios.backtest.result import Result
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import Order
from tests.portfolios.backtest.support import backtest, document
from tests.portfolios.kernel.harness import CODE, close_of, tick

PRICES = [10.0, 9.9, 9.8, 10.2, 10.4, 10.6, 9.9, 9.8, 9.7, 10.4, 10.6, 10.8, 10.1, 9.9, 9.8]


@pytest.fixture
def limits(monkeypatch: pytest.MonkeyPatch) -> Any:
    def limit(**changes: Any) -> None:
        config = settings.GINKGO.model_copy(update={"engine": settings.GINKGO.engine.model_copy(update=changes)})
        monkeypatch.setattr(settings, "GINKGO", config)

    return limit


def run(prices: list[float] = PRICES, gate: EngineGate | None = None) -> tuple[Result, EngineGate]:
    gate = gate or EngineGate()
    ticks = [
        tick(price, close_of(day), prev_close=last)
        for day, (last, price) in enumerate(zip([None, *prices[:-1]], prices, strict=True))
    ]
    return backtest(document(), gate=gate, hear=gate.hear).run(ticks), gate


def test_what_a_portfolio_orders_by_the_rules_passes() -> None:
    plain = backtest(document()).run([tick(price, close_of(day)) for day, price in enumerate(PRICES)])
    found, gate = run()
    assert found.refusals == []
    assert len(found.fills) == len(plain.fills) >= 3
    assert gate._account.cash == found.cash
    assert gate._account.positions() == found.positions


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"max_order_value": 50_000}, "order_value"), ({"max_daily_turnover": 50_000}, "daily_turnover")],
)
def test_the_configured_limits_hold(limits: Any, change: dict[str, Any], reason: str) -> None:
    limits(**change)
    found, _ = run()
    assert found.fills == []
    assert {refusal.reason for refusal in found.refusals} == {reason}


def test_orders_are_counted_by_the_minute_of_event_time(limits: Any) -> None:
    limits(max_orders_per_minute=1)
    gate = EngineGate()
    found, _ = run(gate=gate)
    first = found.orders[0]
    portfolio = gate._portfolio
    assert portfolio is not None
    for seconds, reason in ((86_400, None), (86_459, "order_rate"), (86_520, None)):
        again: Order = msgspec.structs.replace(
            first, order_id=f"again-{seconds}", timestamp=found.orders[-1].timestamp + timedelta(seconds=seconds)
        )
        assert gate(again, portfolio) == reason


def test_what_is_not_held_cannot_be_sold_nor_more_bought_than_there_is_cash_for() -> None:
    found, gate = run()
    portfolio = gate._portfolio
    assert portfolio is not None
    later = {"timestamp": close_of(40), "cause": "t:0:99:0"}
    sale = msgspec.structs.replace(found.orders[0], order_id="s", direction=-1, volume=10**6, **later)
    assert gate(sale, portfolio) == "insufficient_position"
    dear = msgspec.structs.replace(found.orders[0], order_id="b", volume=10**6, **later)
    assert gate(dear, portfolio) == "insufficient_cash"
    assert to_units(10**6) > gate._account.cash > 0
    assert dear.code == CODE


def test_the_command_asks_the_engines_gate(limits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from django.core.management import call_command

    limits(max_order_value=1_000)
    config = tmp_path / "config.json"
    config.write_bytes(msgspec.json.encode(document(params={"short_period": 5, "long_period": 20})))
    call_command("backtest", "run", "--config", str(config), "--end-date", "2020-06-30", "--json")
    found = msgspec.json.decode(capsys.readouterr().out)
    assert found["rejected"] == found["orders"] > 0
    assert found["fills"] == 0
