"""Whatever becomes of a portfolio's orders, its books are what the fills leave of its cash, in every market.

Orders of all kinds meet an exchange that fills in parts, rejects and cancels as it likes; a second reckoning, from the
feedback alone and by the dated tables, runs beside the portfolio's own.
"""

from __future__ import annotations

import random
from collections import defaultdict
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal

import marina_rules
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from portfolios.kernel.exchange import Fill
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, Intent, Order
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel.harness import Market, config, day, tick
from tests.portfolios.kernel.scripted import PATH
from tests.portfolios.kernel.test_snapshots import MARKETS, OPENING

CASH = 200_000


class Unruly(Market):
    """An exchange that rejects some orders, cancels others while they wait, and keeps books of its own."""

    def __init__(self, market: str, seed: int) -> None:
        self.chance = random.Random(seed)
        script = [self.chance.choice([1, 1, 0, -1]) for _ in range(200)]
        chosen = config(
            PATH, {"script": script}, sizer="RatioSizer", sizer_params={"ratio": 0.3},
            codes=MARKETS[market], policy={"pyramiding": True},
        )  # fmt: skip
        super().__init__(chosen, cash=CASH, rules=rules_for(market), slippage=0.001)
        self.cash = to_units(CASH)
        self.held: dict[str, int] = defaultdict(int)
        self.bought: dict[tuple[str, date], int] = defaultdict(int)
        self.executed: dict[str, list[Fill]] = defaultdict(list)
        self.seen = 0
        self.ends: set[str] = set()

    def _take(self, intent: Intent) -> None:
        if isinstance(intent, Order) and self.chance.random() < 0.15:
            self.ends.add("rejected")
            self.answer("order_rejected", intent.order_id, intent.timestamp, reason="as it likes")
        else:
            super()._take(intent)

    def cancel_one(self) -> None:
        if self.book and self.chance.random() < 0.2:
            order_id = self.chance.choice(sorted(self.book))
            at = self.book.pop(order_id).timestamp
            self.ends.add("cancelled in part" if order_id in self.executed else "cancelled")
            self.answer("order_cancelled", order_id, at, reason="as it likes")

    def reckon(self) -> None:
        """The fills that came since, into the books kept here."""
        for fill in self.fills[self.seen :]:
            self.cash -= fill.direction * fill.amount + fill.commission + fill.tax
            self.held[fill.code] += fill.direction * fill.volume
            if fill.direction == BUY:
                self.bought[fill.code, self.rules.session_of(fill.timestamp)] += fill.volume
            self.executed[fill.order_id].append(fill)
            if fill.remaining:
                self.ends.add("filled in part")
        self.seen = len(self.fills)

    def check(self, today: date) -> None:
        portfolio, rules = self.portfolio, self.rules
        held = {code: volume for code, volume in self.held.items() if volume}
        assert {code: each.volume for code, each in portfolio.positions.items()} == held
        value = sum(portfolio.price_of(code) * volume * rules.multiplier(code) for code, volume in held.items())
        assert portfolio.total_value == self.cash + value
        if not rules.shorting:
            assert portfolio.cash == self.cash
        if not rules.shorting:
            # The exchange's limits, or the order's own, bound what a buy can cost: what is held back always suffices.
            assert portfolio.cash >= portfolio.frozen >= 0
        assert portfolio.initial_cash + portfolio.realised + portfolio.unrealised == portfolio.total_value
        assert portfolio.available_cash >= 0
        for code, position in portfolio.positions.items():
            assert 0 <= position.available <= abs(position.volume)
            if rules.shorting:
                continue  # a sale may open there: what is promised to closing orders, the book alone does not say
            selling = sum(o.remaining for o in self.book.values() if o.code == code and o.direction == SELL)
            locked = min(self.bought[code, today], position.volume) if rules.t_plus else 0
            assert position.available == position.volume - locked - selling


def walk(market: Unruly, name: str, length: int) -> None:
    chance = market.chance
    at = day(0) + timedelta(hours=OPENING[name])
    prices = dict.fromkeys(MARKETS[name], 20.0)
    closes = dict(prices)
    for number in range(length):
        at += timedelta(seconds=chance.choice([1, 30, 900]))
        if number % 15 == 14:
            midnight = at.replace(hour=0, minute=0, second=0)
            at = midnight + timedelta(hours=OPENING[name], days=3 if at.weekday() == 4 else 1)
            closes = dict(prices)
        code = chance.choice(MARKETS[name])
        # Now and then a jump that no order allows for, where no limit forbids it.
        jump = chance.choice([0.7, 1.3]) if name != "cn" and chance.random() < 0.05 else 1.0
        prices[code] = round(max(prices[code] * (1 + chance.gauss(0, 0.02)) * jump, 2.0), 2)
        volume = chance.choice([None, 100, 700])
        market.show(tick(prices[code], at, code, volume=volume, prev_close=closes[code]))
        market.cancel_one()
        market.reckon()
        market.check(market.rules.session_of(at))


def taxes_by_the_table(direction: int, amount: int, on: date) -> int:
    """An A-share order's stamp duty and transfer fee, straight from the dated records."""
    due = [marina_rules.rule_at("transfer_fee_each_side", on.isoformat())]
    if direction == SELL:
        due.append(marina_rules.rule_at("stamp_duty_sell", on.isoformat()))
    return sum(share(amount, rate) for rate in due)


def share(amount: int, rate: float) -> int:
    """To the cent, half up; in units."""
    paid = Decimal(amount).scaleb(-4) * Decimal(str(rate))
    return to_units(paid.quantize(Decimal("0.01"), ROUND_HALF_UP))


@pytest.mark.parametrize("name", MARKETS)
@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 2**32), length=st.integers(20, 90))
def test_cash_and_volume_are_conserved_whatever_becomes_of_the_orders(name, seed, length):
    market = Unruly(name, seed)
    walk(market, name, length)
    for fills in market.executed.values():
        first, on = fills[0], fills[-1].timestamp.date()
        amount, volume = sum(fill.amount for fill in fills), sum(fill.volume for fill in fills)
        paid = sum(fill.commission for fill in fills), sum(fill.tax for fill in fills)
        assert paid == market.rules.fees(first.code, first.direction, amount, volume, on)
        if name == "cn":
            assert paid[1] == taxes_by_the_table(first.direction, amount, on)
            assert paid[0] == max(share(amount, 0.0003), to_units(5))
    assert market.portfolio.fees == sum(fill.commission + fill.tax for fill in market.fills)


@pytest.mark.parametrize("name", MARKETS)
def test_all_that_can_become_of_an_order_does_so_there(name):
    ends: set[str] = set()
    for seed in range(12):
        market = Unruly(name, seed)
        walk(market, name, 90)
        ends |= market.ends | ({"expired"} if market.expired else set())
    assert ends == {"rejected", "cancelled", "cancelled in part", "filled in part", "expired"}
