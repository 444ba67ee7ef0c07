"""The books of a portfolio: cash, what open orders hold back of it, positions, profit and fees. All exact.

Money is in units of 0.0001 of the currency (`money`). At every moment, to the unit,
`initial + realised + unrealised == cash + value of the positions == total_value`.

Shares are paid in full: a position's `cost` is all that was paid for what is held, fees included, and a sale takes its
share of it out. Futures post margin: `cost` is the signed value at entry, fees and profits go to cash as they
are realised, the position's value is its open profit, and `margin` keeps cash from being spent twice.
"""

from __future__ import annotations

import msgspec

from portfolios.kernel.orders import BUY, SELL, Order

_PPM = 1_000_000


class Position(msgspec.Struct):
    """Holding of one code; `volume` is negative when short. `locked` was bought in session `locked_day` (ordinal) and
    cannot be sold yet (T+1); `frozen` is promised to open closing orders; `last_price` in units, 0 before the
    first price; `margin_rate` in parts per million, 0 where positions are paid in full."""

    code: str
    volume: int = 0
    locked: int = 0
    locked_day: int = 0
    frozen: int = 0
    cost: int = 0
    last_price: int = 0
    multiplier: int = 1
    margin_rate: int = 0

    @property
    def available(self) -> int:
        """How much can be closed now, never negative: sold of a long position, bought back of a short one."""
        return max(abs(self.volume) - self.locked - self.frozen, 0)

    @property
    def notional(self) -> int:
        return self.volume * self.last_price * self.multiplier

    @property
    def value(self) -> int:
        """What the position adds to the total value."""
        return self.notional - self.cost if self.margin_rate else self.notional

    @property
    def unrealised(self) -> int:
        return self.notional - self.cost

    @property
    def margin(self) -> int:
        """Margin held at the last price, rounded up."""
        return -(-abs(self.notional) * self.margin_rate // _PPM)

    @property
    def average_cost(self) -> int:
        """Cost of one share in units (shares: fees included), rounded down; 0 when flat."""
        return self.cost // (self.volume * self.multiplier) if self.volume else 0


class OpenOrder(msgspec.Struct):
    """An order that is not over: `frozen` units of cash it still holds back, or, if it `closes` a position, volume of
    that; `answered` once any feedback has come; `number` is its place in the order of decisions."""

    order: Order
    number: int
    closes: bool
    frozen: int = 0
    filled: int = 0
    status: str = "new"
    answered: bool = False

    @property
    def remaining(self) -> int:
        return self.order.volume - self.filled


class Ledger(msgspec.Struct):
    """`cash` is all cash, `frozen` the part of it held back for open orders, `value` that of the positions."""

    initial: int
    cash: int
    frozen: int = 0
    realised: int = 0
    fees: int = 0
    value: int = 0
    positions: dict[str, Position] = {}
    orders: dict[str, OpenOrder] = {}

    @property
    def available(self) -> int:
        """Cash that a new order may use; never below zero. Margin and open losses of futures are not free."""
        tied = sum(each.margin - min(each.value, 0) for each in self.positions.values() if each.margin_rate)
        return max(self.cash - self.frozen - tied, 0)

    @property
    def total_value(self) -> int:
        return self.cash + self.value

    @property
    def unrealised(self) -> int:
        return sum(position.unrealised for position in self.positions.values())

    @property
    def margin(self) -> int:
        return sum(position.margin for position in self.positions.values())

    def mark(self, position: Position, price: int) -> None:
        """A new price (units) of something held."""
        self.value += position.volume * position.multiplier * (price - position.last_price)
        position.last_price = price

    def settle(self, day: int) -> None:
        """Session `day` (ordinal) has begun: what was bought before it can be sold."""
        for position in self.positions.values():
            if position.locked and position.locked_day < day:
                position.locked = 0

    def place(self, order: Order, number: int, freeze: int, *, closes: bool) -> None:
        """An order is decided: an opening one holds back `freeze` units of cash, a closing one its volume."""
        self.orders[order.order_id] = OpenOrder(order, number, closes, frozen=0 if closes else freeze)
        if closes:
            self.positions[order.code].frozen += order.volume
        else:
            self.frozen += freeze

    def fill(
        self,
        code: str,
        direction: int,
        volume: int,
        amount: int,
        fees: int,
        *,
        lock_day: int | None = None,
        multiplier: int = 1,
        margin_rate: int = 0,
    ) -> Position:
        """Books an execution of `volume` for `amount` units. `lock_day`: the session in which a buy stays locked.

        Books whatever really happened, be it more than was held: the exchange's word is the truth. The position
        returned has volume 0, and is no longer in the books, when it is closed.
        """
        position = self.positions.get(code)
        if position is None:
            price = amount // (volume * multiplier)
            position = Position(code, last_price=price, multiplier=multiplier, margin_rate=margin_rate)
            self.positions[code] = position
        self.value -= position.value
        self.fees += fees
        if position.margin_rate:
            self._fill_on_margin(position, direction, volume, amount, fees)
        else:
            self._fill_in_full(position, direction, volume, amount, fees)
        if direction == BUY and lock_day is not None:
            position.locked = volume if lock_day != position.locked_day else position.locked + volume
            position.locked_day = lock_day
        if position.volume == 0:
            self.realised -= position.cost
            position.cost = 0
            del self.positions[code]
        self.value += position.value
        return position

    def _fill_in_full(self, position: Position, direction: int, volume: int, amount: int, fees: int) -> None:
        if direction == BUY:
            self.cash -= amount + fees
            position.cost += amount + fees
            position.volume += volume
            return
        cost = position.cost * volume // position.volume if position.volume > volume else position.cost
        self.cash += amount - fees
        self.realised += amount - fees - cost
        position.cost -= cost
        position.volume -= volume

    def _fill_on_margin(self, position: Position, direction: int, volume: int, amount: int, fees: int) -> None:
        self.cash -= fees
        self.realised -= fees
        closing = min(volume, abs(position.volume)) if position.volume * direction < 0 else 0
        if closing:
            closed = amount * closing // volume
            # Of a whole close all of the cost, so that nothing is left behind by rounding.
            cost = position.cost * closing // abs(position.volume)
            profit = -direction * closed - cost
            self.cash += profit
            self.realised += profit
            position.cost -= cost
            amount -= closed
        position.cost += direction * amount if volume > closing else 0
        position.volume += direction * volume

    def progress(self, open_order: OpenOrder, volume: int, paid: int) -> None:
        """A fill that belongs to an open order, for `paid` units with fees: what it held back for it is released."""
        before = open_order.remaining
        open_order.filled += volume
        if open_order.closes:
            self._thaw(open_order.order.code, volume)
            return
        position = self.positions.get(open_order.order.code)
        if position is not None and position.margin_rate:
            paid = open_order.frozen * volume // before if before > 0 else open_order.frozen
        release = min(paid, open_order.frozen)
        open_order.frozen -= release
        self.frozen -= release

    def close(self, open_order: OpenOrder) -> None:
        """An order is over (filled, cancelled or rejected): what it still held back is free again."""
        del self.orders[open_order.order.order_id]
        if not open_order.closes:
            self.frozen -= open_order.frozen
        elif open_order.remaining > 0:
            self._thaw(open_order.order.code, open_order.remaining)

    def adjust_cash(self, amount: int) -> None:
        """A deposit (positive) or withdrawal (negative), in units: moves the base that profit is measured from."""
        self.initial += amount
        self.cash += amount

    def adjust_position(self, code: str, volume: int, price: int, multiplier: int, margin_rate: int) -> Position:
        """A correction: `volume` more (negative: less) at `price` units, a transfer in kind without fees. For shares
        the base that profit is measured from moves by its value, so that a correction is no profit."""
        amount = abs(volume) * price * multiplier
        direction = BUY if volume > 0 else SELL
        position = self.fill(code, direction, abs(volume), amount, 0, multiplier=multiplier, margin_rate=margin_rate)
        if not margin_rate:
            self.adjust_cash(direction * amount)
        return position

    def _thaw(self, code: str, volume: int) -> None:
        position = self.positions.get(code)
        if position is not None:
            position.frozen -= min(volume, position.frozen)
