"""The books of a portfolio: cash, what open orders hold back of it, positions, profit and fees. All exact.

Money is in units of 0.0001 of the currency (`money`). At every moment
`initial + realised + unrealised == cash + market value`, to the unit: a position's `cost` is all that was paid
for what is held, fees included, and a sale takes its share of it out.
"""

from __future__ import annotations

import msgspec

from portfolios.kernel.orders import BUY, Order


class Position(msgspec.Struct):
    """Holding of one code. `locked` was bought in session `locked_day` (ordinal) and cannot be sold yet (T+1);
    `frozen` is promised to open sell orders; `last_price` in units, 0 before the first price."""

    code: str
    volume: int = 0
    locked: int = 0
    locked_day: int = 0
    frozen: int = 0
    cost: int = 0
    last_price: int = 0
    multiplier: int = 1

    @property
    def available(self) -> int:
        """What can be sold now."""
        return self.volume - self.locked - self.frozen

    @property
    def market_value(self) -> int:
        return self.volume * self.last_price * self.multiplier

    @property
    def unrealised(self) -> int:
        return self.market_value - self.cost

    @property
    def average_cost(self) -> int:
        """Cost of one share in units, fees included, rounded down; 0 when flat."""
        return self.cost // (self.volume * self.multiplier) if self.volume else 0


class OpenOrder(msgspec.Struct):
    """An order that is not over: `frozen` units of cash (a buy) it still holds back, `paid` of them spent;
    `answered` once any feedback has come; `number` is its place in the order of decisions."""

    order: Order
    number: int
    frozen: int = 0
    filled: int = 0
    paid: int = 0
    status: str = "new"
    answered: bool = False

    @property
    def remaining(self) -> int:
        return self.order.volume - self.filled


class Ledger(msgspec.Struct):
    """`cash` is all cash, `frozen` the part of it held back for open buys."""

    initial: int
    cash: int
    frozen: int = 0
    realised: int = 0
    fees: int = 0
    market_value: int = 0
    positions: dict[str, Position] = {}
    orders: dict[str, OpenOrder] = {}

    @property
    def available(self) -> int:
        """Cash that a new order may use; never below zero."""
        return max(self.cash - self.frozen, 0)

    @property
    def total_value(self) -> int:
        return self.cash + self.market_value

    @property
    def unrealised(self) -> int:
        return self.market_value - sum(position.cost for position in self.positions.values())

    def mark(self, position: Position, price: int) -> None:
        """A new price (units) of something held."""
        self.market_value += position.volume * position.multiplier * (price - position.last_price)
        position.last_price = price

    def settle(self, day: int) -> None:
        """Session `day` (ordinal) has begun: what was bought before it can be sold."""
        for position in self.positions.values():
            if position.locked and position.locked_day < day:
                position.locked = 0

    def place(self, order: Order, number: int, freeze: int) -> None:
        """An order is decided: a buy holds back `freeze` units of cash, a sell its volume."""
        self.orders[order.order_id] = OpenOrder(order, number, frozen=freeze if order.direction == BUY else 0)
        if order.direction == BUY:
            self.frozen += freeze
        else:
            self.positions[order.code].frozen += order.volume

    def fill(self, code: str, direction: int, volume: int, amount: int, fees: int, lock_day: int | None) -> Position:
        """Book an execution of `volume` for `amount` units. `lock_day`: session in which a buy stays locked, if any.

        Books whatever really happened, be it more than was held: the exchange's word is the truth.
        """
        position = self.positions.get(code)
        if position is None:
            position = self.positions[code] = Position(code, last_price=amount // volume)
        self.fees += fees
        if direction == BUY:
            self.cash -= amount + fees
            position.cost += amount + fees
            position.volume += volume
            self.market_value += volume * position.last_price
            if lock_day is not None:
                position.locked = volume if lock_day != position.locked_day else position.locked + volume
                position.locked_day = lock_day
        else:
            cost = position.cost * volume // position.volume if position.volume > volume else position.cost
            self.cash += amount - fees
            self.realised += amount - fees - cost
            position.cost -= cost
            position.volume -= volume
            self.market_value -= volume * position.last_price
        if position.volume == 0:
            del self.positions[code]
        return position

    def progress(self, open_order: OpenOrder, volume: int, paid: int) -> None:
        """A fill belongs to an open order: what it held back for this part is released."""
        open_order.filled += volume
        open_order.paid += paid
        if open_order.order.direction == BUY:
            release = min(paid, open_order.frozen)
            open_order.frozen -= release
            self.frozen -= release
        else:
            self._thaw(open_order.order.code, volume)

    def close(self, open_order: OpenOrder) -> None:
        """An order is over (filled, cancelled or rejected): what it still held back is free again."""
        order = open_order.order
        del self.orders[order.order_id]
        if order.direction == BUY:
            self.frozen -= open_order.frozen
        elif open_order.remaining > 0:
            self._thaw(order.code, open_order.remaining)

    def adjust_cash(self, amount: int) -> None:
        """A deposit (positive) or withdrawal (negative), in units: moves the base that profit is measured from."""
        self.initial += amount
        self.cash += amount

    def _thaw(self, code: str, volume: int) -> None:
        position = self.positions.get(code)
        if position is not None:
            position.frozen -= min(volume, position.frozen)
