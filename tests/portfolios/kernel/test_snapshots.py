"""Restore, then the same events: byte-identical snapshots, whatever the components and whenever it is cut."""

from __future__ import annotations

import random
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel import registry
from portfolios.kernel.component import BUY, SELL, Signal, Strategy
from portfolios.kernel.config import PortfolioConfig
from portfolios.kernel.events import Cause, Feedback, PriceUpdate
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import Intent
from portfolios.kernel.portfolio import Portfolio
from portfolios.kernel.rules import MarketRules, rules_for
from tests.portfolios.kernel.harness import CODE, PORTFOLIO_ID, TOPIC, Market, config, day, tick

CODES = [CODE, "000001.SZ", "688981.SH"]
RULES = rules_for("cn")
MARKETS = {
    "cn": CODES,
    "hk": ["00700.HK", "00005.HK", "09988.HK"],
    "us": ["AAPL.US", "MSFT.US", "F.US"],
    "futures": ["IF2612.CFX", "T2612.CFX", "RB2610.SHF"],
}
OPENING = {"cn": 1.5, "hk": 1.5, "us": 14.5, "futures": 1.0}  # the market's morning, in hours UTC

STRATEGIES: dict[str, dict[str, Any]] = {
    "TrendFollowStrategy": {"short_period": 2, "long_period": 4},
    "MeanReversionStrategy": {"period": 4, "entry": 0.8},
    "MomentumStrategy": {"period": 3, "buy_above": 0.5},
    "DualThrustStrategy": {"sessions": 2, "k_up": 0.2, "k_down": 0.2},
}
RISKS: dict[str, dict[str, Any]] = {
    "PositionRatioRisk": {"max_position_ratio": 0.3},
    "LossLimitRisk": {"loss_limit": 2},
    "ProfitTargetRisk": {"profit_target": 2},
    "MaxDrawdownRisk": {"max_drawdown": 1, "pause": 2},
    "TradingTimeRisk": {"windows": ["09:30-10:30", "13:00-15:00"]},
}
SIZERS: dict[str, dict[str, Any]] = {
    "FixedAmountSizer": {"amount": 50_000},
    "RatioSizer": {"ratio": 0.2},
    "ATRSizer": {"period": 3},
}
COMBINATIONS = [
    *(("cn", strategy, list(RISKS), "RatioSizer") for strategy in STRATEGIES),
    *(("cn", "MomentumStrategy", [risk], "FixedAmountSizer") for risk in RISKS),
    *(("cn", "MomentumStrategy", ["LossLimitRisk"], sizer) for sizer in SIZERS),
    # Abroad, every component too: the strategies in turn, each with a sizer, all risk rules together.
    *(
        (market, strategy, list(RISKS), list(SIZERS)[(number + shift) % 3])
        for shift, market in enumerate(["hk", "us", "futures"])
        for number, strategy in enumerate(STRATEGIES)
    ),
]


def made(market: str, strategy: str, risks: list[str], sizer: str, bar: str) -> PortfolioConfig:
    return config(
        strategy, STRATEGIES[strategy], risks={risk: RISKS[risk] for risk in risks}, sizer=sizer,
        sizer_params=SIZERS[sizer], codes=MARKETS[market], policy={"bar": bar, "min_signal_interval": 1},
    )  # fmt: skip


class Recorder(Market):
    """Keeps every event that its portfolio was told, in order, with its cause and what came of it."""

    def __init__(self, config: PortfolioConfig, rules: MarketRules = RULES) -> None:
        super().__init__(config, cash=200_000, rules=rules, slippage=0.001)
        self.log: list[tuple[PriceUpdate | Feedback, Cause, list[Intent]]] = []
        portfolio, recorder = self.portfolio, self

        class Listening:
            def apply(self, event: PriceUpdate | Feedback, cause: Cause) -> list[Intent]:
                intents = portfolio.apply(event, cause)
                recorder.log.append((event, cause, intents))
                return intents

        self.portfolio = Listening()  # type: ignore[assignment]
        self.real = portfolio


def walk(seed: int, market: str = "cn") -> list[PriceUpdate]:
    """Some days of swinging prices of all codes: with and without volumes, close together and nights apart."""
    chance = random.Random(seed)
    opening = timedelta(hours=OPENING[market])
    at = day(0) + opening
    codes = MARKETS[market]
    prices = dict.fromkeys(codes, 10.0)
    events = []
    for number in range(150):
        at += timedelta(seconds=chance.choice([0, 1, 20, 60, 1_800]))
        if number % 25 == 24:
            midnight = at.replace(hour=0, minute=0, second=0)
            at = midnight + opening + timedelta(days=3 if at.weekday() == 4 else 1)
        code = chance.choice(codes)
        prices[code] = round(max(prices[code] * (1 + chance.gauss(0, 0.02)), 1.0), 2)
        events.append(tick(prices[code], at, code, volume=chance.choice([None, 500, 5_000])))
    return events


def test_every_built_in_component_is_in_some_combination():
    used = {name for _, strategy, risks, sizer in COMBINATIONS for name in (strategy, *risks, sizer)}
    assert used == set(registry._BUILT_IN)
    for market in MARKETS:
        used = {
            name for at, strategy, risks, sizer in COMBINATIONS for name in (strategy, *risks, sizer) if at == market
        }
        assert used == set(registry._BUILT_IN), market


@pytest.mark.parametrize(("at", "strategy", "risks", "sizer"), COMBINATIONS)
def test_every_combination_trades(at, strategy, risks, sizer):
    """So that what follows is no property of portfolios that do nothing."""
    fills, strange = 0, 0
    for seed in range(4):
        market = Recorder(made(at, strategy, risks, sizer, "tick"), rules_for(at))
        for event in walk(seed, at):
            market.show(event)
        fills += len(market.fills)
        strange += sum(1 for fill in market.fills if fill.remaining) + len(market.expired)
    assert fills >= 4 and strange >= 1


@pytest.mark.parametrize(("at", "strategy", "risks", "sizer"), COMBINATIONS)
@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32), share=st.floats(0, 1), bar=st.sampled_from(["tick", "tick", "1m", "1d"]))
def test_restored_anywhere_it_goes_on_byte_for_byte(at, strategy, risks, sizer, seed, share, bar):
    chosen, rules = made(at, strategy, risks, sizer, bar), rules_for(at)
    market = Recorder(chosen, rules)
    for event in walk(seed, at):
        market.show(event)
    whole = market.real.snapshot()

    first = Portfolio(PORTFOLIO_ID, chosen, rules, to_units(200_000))
    cut = int(len(market.log) * share)
    for event, cause, _ in market.log[:cut]:
        first.apply(event, cause)
    second = Portfolio.restore(first.snapshot(), PORTFOLIO_ID, chosen, rules)
    assert second.snapshot() == first.snapshot()
    for event, cause, intents in market.log[cut:]:
        assert second.apply(event, cause) == intents
    assert second.snapshot() == whole
    assert second.total_value == second.initial_cash + second.realised + second.unrealised
    assert second.available_cash >= 0
    assert second.cash >= second.frozen >= 0
    assert all(0 <= each.available <= abs(each.volume) for each in second.positions.values())


class Impure(Strategy):
    """Keeps what it remembers where no snapshot looks for it."""

    def on_price(self, memory, tick):
        self.count = getattr(self, "count", 0) + 1
        return Signal(BUY if self.count % 3 else SELL, "its turn")


def test_a_component_that_remembers_beside_its_memory_is_found_out():
    chosen = config(f"{__name__}:Impure", {}, codes=CODES)
    market = Recorder(chosen)
    for event in walk(1):
        market.show(event)
    cut = 40
    first = Portfolio(PORTFOLIO_ID, chosen, RULES, to_units(200_000))
    for event, cause, _ in market.log[:cut]:
        first.apply(event, cause)
    second = Portfolio.restore(first.snapshot(), PORTFOLIO_ID, chosen, RULES)
    assert [second.apply(event, cause) for event, cause, _ in market.log[cut:]] != [
        each[2] for each in market.log[cut:]
    ]


def traded() -> Market:
    """Holds CODE, has an open order in another code, and has seen enough for its averages."""
    market = Market(config(codes=CODES, params={"short_period": 2, "long_period": 3}, risks={"MaxDrawdownRisk": {}}))
    market.closes([10.0, 9.9, 9.8, 10.2, 10.3])
    market.closes([10.0, 9.9, 9.8, 10.2], "000001.SZ", start=5)
    assert CODE in market.portfolio.positions
    assert [each.order.code for each in market.portfolio.open_orders()] == ["000001.SZ"]
    return market


def test_a_reload_keeps_books_orders_and_the_memory_of_unchanged_components():
    market = traded()
    before = market.portfolio
    after = before.reconfigured(
        config(
            codes=CODES,
            params={"short_period": 2, "long_period": 3},
            risks={"LossLimitRisk": {}, "MaxDrawdownRisk": {}},
        )
    )
    assert after.cash == before.cash
    assert after.positions == before.positions
    assert after.open_orders() == before.open_orders()
    assert after.pseq == before.pseq
    assert after._watches[CODE].memory == before._watches[CODE].memory
    assert after._risks[1].state == before._risks[0].state


def test_a_reload_with_other_parameters_starts_that_component_anew_and_only_that_one():
    before = traded().portfolio
    after = before.reconfigured(
        config(codes=CODES, params={"short_period": 2, "long_period": 5}, risks={"MaxDrawdownRisk": {}})
    )
    assert after._watches[CODE].memory.count == 0
    assert len(after._watches[CODE].memory.window) == 5
    assert after._risks[0].state == before._risks[0].state
    assert after.price_of(CODE) == before.price_of(CODE)


def test_a_reload_that_drops_a_held_code_still_watches_it_until_it_is_sold():
    before = traded().portfolio
    after = before.reconfigured(config(codes=["600000.SH"], risks={"LossLimitRisk": {"loss_limit": 1}}))
    assert after.codes == {"600000.SH", CODE, "000001.SZ"}
    (order,) = after.apply(tick(9.5, day(9) + timedelta(hours=2), prev_close=10.3), Cause(TOPIC, 0, 99))
    assert (order.code, order.volume) == (CODE, before.positions[CODE].volume)


def test_the_reloaded_portfolio_shares_nothing_with_the_old_one():
    before = traded().portfolio
    snapshot = before.snapshot()
    after = before.reconfigured(before.config)
    assert after.snapshot() == snapshot
    after.apply(tick(10.4, day(9) + timedelta(hours=2)), Cause(TOPIC, 0, 99))
    assert before.snapshot() == snapshot


@pytest.mark.parametrize("state", [b"", b"{}", b"not json", b'{"v": 99}'])
def test_what_is_no_snapshot_is_refused(state):
    with pytest.raises(msgspec.MsgspecError):
        Portfolio.restore(state, PORTFOLIO_ID, config(), RULES)
