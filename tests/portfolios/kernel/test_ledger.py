"""The books are conserved over any sequence of orders, partial fills, cancels and rejections, to the unit."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from portfolios.kernel.ledger import Ledger
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, Order

CASH = to_units(1_000_000)
CODES = ("600519.SH", "000001.SZ")
AT = datetime(2024, 1, 2, tzinfo=UTC)


def order(name: str, code: str, direction: int, volume: int) -> Order:
    return Order(
        order_id=name, portfolio_id="p", code=code, direction=direction, order_type="market", volume=volume,
        price=None, cause=f"t:0:{name}:0", timestamp=AT,
    )  # fmt: skip


class Books(RuleBasedStateMachine):
    """Shares on T+1. An independent reckoning of cash and shares runs beside the ledger."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(initial=CASH, cash=CASH)
        self.cash = CASH
        self.shares = dict.fromkeys(CODES, 0)
        self.bought_today = dict.fromkeys(CODES, 0)
        self.fees = 0
        self.day = 1
        self.number = 0

    def _name(self) -> str:
        self.number += 1
        return str(self.number)

    @rule(code=st.sampled_from(CODES), volume=st.integers(1, 500), worst=st.integers(1, 200_0000))
    def buy(self, code: str, volume: int, worst: int) -> None:
        freeze = worst * volume
        if freeze <= self.ledger.available:
            name = self._name()
            self.ledger.place(order(name, code, BUY, volume), self.number, freeze, closes=False)

    @rule(code=st.sampled_from(CODES), share=st.floats(0.01, 1))
    def sell(self, code: str, share: float) -> None:
        position = self.ledger.positions.get(code)
        volume = int(position.available * share) if position is not None else 0
        if volume > 0:
            self.ledger.place(order(self._name(), code, SELL, volume), self.number, 0, closes=True)

    @precondition(lambda self: self.ledger.orders)
    @rule(data=st.data(), share=st.floats(0.01, 1), price=st.integers(1, 200_0000), fees=st.integers(0, 100))
    def fill(self, data: st.DataObject, share: float, price: int, fees: int) -> None:
        name = data.draw(st.sampled_from(sorted(self.ledger.orders)))
        open_order = self.ledger.orders[name]
        code, direction = open_order.order.code, open_order.order.direction
        volume = max(int(open_order.remaining * share), 1)
        if direction == BUY:
            # As the rules guarantee: never dearer, fees included, than what was held back.
            price = max(min(price, (open_order.frozen - fees) // volume), 0)
            fees = min(fees, open_order.frozen - price * volume)
        else:
            fees = min(fees, price * volume)
        amount = price * volume
        lock = self.day if direction == BUY else None
        self.ledger.fill(code, direction, volume, amount, fees, lock_day=lock)
        self.ledger.progress(open_order, volume, amount + fees)
        if open_order.remaining == 0:
            self.ledger.close(open_order)
        self.cash -= direction * amount + fees
        self.shares[code] += direction * volume
        self.fees += fees
        if direction == BUY:
            self.bought_today[code] += volume

    @precondition(lambda self: self.ledger.orders)
    @rule(data=st.data())
    def cancel_or_reject(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(sorted(self.ledger.orders)))
        self.ledger.close(self.ledger.orders[name])

    @rule(code=st.sampled_from(CODES), price=st.integers(1, 200_0000))
    def price(self, code: str, price: int) -> None:
        position = self.ledger.positions.get(code)
        if position is not None:
            self.ledger.mark(position, price)

    @rule()
    def next_session(self) -> None:
        self.day += 1
        self.ledger.settle(self.day)
        self.bought_today = dict.fromkeys(CODES, 0)

    @rule(amount=st.integers(0, 10**8))
    def deposit(self, amount: int) -> None:
        self.ledger.adjust_cash(amount)
        self.cash += amount

    @invariant()
    def cash_and_shares_are_conserved(self) -> None:
        assert self.ledger.cash == self.cash
        assert self.ledger.fees == self.fees
        held = {code: position.volume for code, position in self.ledger.positions.items()}
        assert held == {code: volume for code, volume in self.shares.items() if volume}

    @invariant()
    def profit_accounts_for_all_that_was_gained(self) -> None:
        ledger = self.ledger
        worth = sum(position.value for position in ledger.positions.values())
        assert ledger.value == worth
        assert ledger.initial + ledger.realised + ledger.unrealised == ledger.total_value == ledger.cash + worth

    @invariant()
    def nothing_is_promised_twice(self) -> None:
        orders = self.ledger.orders.values()
        assert self.ledger.frozen == sum(each.frozen for each in orders if not each.closes)
        assert 0 <= self.ledger.frozen <= self.ledger.cash
        for code, position in self.ledger.positions.items():
            promised = sum(each.remaining for each in orders if each.closes and each.order.code == code)
            assert position.frozen == promised
            locked = min(self.bought_today[code], position.volume)
            assert position.locked == locked
            assert position.available == position.volume - locked - promised >= 0


Books.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestBooks = Books.TestCase


class MarginBooks(RuleBasedStateMachine):
    """Futures: long and short, through zero, at any price. Cash is fees and realised profit, nothing else."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger = Ledger(initial=CASH, cash=CASH)
        self.volume = 0
        self.paid = 0
        self.last = 0

    @rule(direction=st.sampled_from((BUY, SELL)), volume=st.integers(1, 50), price=st.integers(1, 60_000_000),
          fees=st.integers(0, 100_000))  # fmt: skip
    def fill(self, direction: int, volume: int, price: int, fees: int) -> None:
        amount = price * volume * 300
        position = self.ledger.fill("IF2612.CFX", direction, volume, amount, fees, multiplier=300, margin_rate=120_000)
        if position.volume:
            self.ledger.mark(position, price)
        self.volume += direction * volume
        self.paid += direction * amount + fees
        self.last = price

    @rule(price=st.integers(1, 60_000_000))
    def price(self, price: int) -> None:
        for position in self.ledger.positions.values():
            self.ledger.mark(position, price)
            self.last = price

    @invariant()
    def the_total_value_is_what_closing_now_would_leave(self) -> None:
        ledger = self.ledger
        assert ledger.total_value == CASH - self.paid + self.volume * self.last * 300
        assert ledger.initial + ledger.realised + ledger.unrealised == ledger.total_value
        assert ledger.cash == ledger.initial + ledger.realised

    @invariant()
    def margin_is_held_for_what_is_open(self) -> None:
        expected = -(-abs(self.volume) * self.last * 300 * 120_000 // 1_000_000)
        assert self.ledger.margin == expected
        assert self.ledger.available >= 0


MarginBooks.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestMarginBooks = MarginBooks.TestCase


def test_a_sale_takes_its_share_of_the_cost_and_the_last_one_the_rest():
    ledger = Ledger(initial=CASH, cash=CASH)
    ledger.fill(CODES[0], BUY, 300, 1_000, 1)
    ledger.fill(CODES[0], SELL, 100, 500, 0)
    assert ledger.positions[CODES[0]].cost == 1_001 - 333
    ledger.fill(CODES[0], SELL, 200, 1_000, 0)
    assert CODES[0] not in ledger.positions
    assert ledger.realised == 1_500 - 1_001


def test_a_broker_that_sold_more_than_was_held_is_believed():
    ledger = Ledger(initial=CASH, cash=CASH)
    ledger.fill(CODES[0], BUY, 100, 1_000_0000, 0)
    ledger.fill(CODES[0], SELL, 300, 3_300_0000, 0)
    assert ledger.positions[CODES[0]].volume == -200
    ledger.fill(CODES[0], BUY, 200, 2_000_0000, 0)
    assert not ledger.positions
    assert ledger.cash == ledger.total_value == CASH + 300_0000 == ledger.initial + ledger.realised


@pytest.mark.parametrize("margin_rate", [0, 120_000])
def test_a_correction_by_hand_is_no_profit(margin_rate):
    ledger = Ledger(initial=CASH, cash=CASH)
    ledger.adjust_position(CODES[0], 500, 10_0000, 1, margin_rate)
    assert ledger.cash == CASH
    assert ledger.realised == ledger.unrealised == 0
    ledger.adjust_position(CODES[0], -500, 10_0000, 1, margin_rate)
    assert not ledger.positions
    assert ledger.total_value == ledger.initial == CASH
