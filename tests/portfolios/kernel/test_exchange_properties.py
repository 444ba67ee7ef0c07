"""What holds of every order on every stream of prices, against an exchange written down a second time, as a loop."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal
from typing import Any

from hypothesis import event, given, settings
from hypothesis import strategies as st

from portfolios.kernel.events import Cause, PriceUpdate
from portfolios.kernel.exchange import Expired, Fill, Resting, advance, is_after, match, rest
from portfolios.kernel.money import to_units
from portfolios.kernel.orders import BUY, SELL, Order, order_id
from portfolios.kernel.rules import rules_for
from tests.portfolios.kernel.harness import CODE, PORTFOLIO_ID, TOPIC, day, tick

RULES = rules_for("cn")
MORNING = day(0) + timedelta(hours=2)
CLOSE = Decimal(10)
UP, DOWN = Decimal(11), Decimal(9)
CAUSED_AT = 4

# Whole cents from beyond limit-down to beyond limit-up, the limits themselves often.
CENTS = st.one_of(st.integers(880, 1120), st.sampled_from([900, 1100, 1000]))
VOLUMES = st.one_of(st.none(), st.integers(0, 600))  # 0: it is suspended, or nobody trades


@dataclass(frozen=True)
class Price:
    """One price in the log: `day` counts trading days, `code` is another one now and then."""

    cents: int
    volume: int | None
    day: int
    ours: bool = True

    def as_tick(self, number: int) -> PriceUpdate:
        at = day(self.day) + timedelta(hours=2, seconds=number)
        code = CODE if self.ours else "000001.SZ"
        return tick(self.cents / 100, at, code, volume=self.volume, prev_close=float(CLOSE))


@st.composite
def logs(draw: Any) -> list[Price]:
    """Prices of one partition; some of them before the order's cause, some on a later day."""
    count = draw(st.integers(0, 25))
    overnight = draw(st.integers(CAUSED_AT + 1, 40))
    return [
        Price(draw(CENTS), draw(VOLUMES), int(number >= overnight), draw(st.booleans()) or number == CAUSED_AT)
        for number in range(CAUSED_AT + 1 + count)
    ]


ORDERS = st.tuples(
    st.sampled_from([BUY, SELL]), st.integers(1, 15).map(lambda lots: lots * 100), st.one_of(st.none(), CENTS)
)
SLIPPAGE = st.sampled_from([0.0, 0.001, 0.02])


def resting(direction: int, volume: int, cents: int | None) -> Resting:
    cause = f"{TOPIC}:3:{CAUSED_AT}:0"
    order = Order(
        order_id=order_id(PORTFOLIO_ID, cause, 0), portfolio_id=PORTFOLIO_ID, code=CODE, direction=direction,
        order_type="market" if cents is None else "limit", volume=volume, price=None if cents is None else cents / 100,
        cause=cause, timestamp=MORNING + timedelta(seconds=CAUSED_AT),
    )  # fmt: skip
    return rest(order, RULES)


def executed(order: Resting, log: list[Price], slippage: float, begin: int = 0) -> tuple[list[Fill], Expired | None]:
    """The order shown the log from `begin` on, until it is over."""
    fills: list[Fill] = []
    for number, price in enumerate(log[begin:], begin):
        order, done = met(order, price.as_tick(number), Cause(TOPIC, 3, number), slippage)
        if isinstance(done, Expired):
            return fills, done
        if done is not None:
            fills.append(done)
            if not done.remaining:
                break
    return fills, None


def met(order: Resting, price: PriceUpdate, at: Cause, slippage: float) -> tuple[Resting, Fill | Expired | None]:
    """The order after a price, as both exchanges do it: a cursor never goes back."""
    done = match(order, price, at, RULES, slippage)
    if isinstance(done, Expired) or not is_after(order, price, at):
        return order, done
    return advance(order, at, done), done


def oracle(
    direction: int, volume: int, cents: int | None, log: list[Price], slippage: float
) -> tuple[list[tuple[int, int, Decimal]], int | None]:
    """(place, volume, price) of each fill and the place at which it expires, as the rules are told in words."""
    left, fills = volume, []
    for number, price in enumerate(log):
        if number <= CAUSED_AT or not price.ours:
            continue  # never its cause, nor what came before
        if price.day:
            return fills, number
        last = Decimal(price.cents) / 100
        if not DOWN <= last <= UP or last == (UP if direction == BUY else DOWN):
            continue  # no such price, or nobody on the other side
        limit = None if cents is None else Decimal(cents) / 100
        if limit is not None and (last > limit if direction == BUY else last < limit):
            continue
        part = left if price.volume is None else min(left, price.volume)
        if part == 0:
            continue
        worse = last * (1 + direction * Decimal(str(slippage)))
        paid = worse.quantize(Decimal("0.01"), ROUND_CEILING if direction == BUY else ROUND_FLOOR)
        bounds = [paid, UP if direction == BUY else DOWN, *([] if limit is None else [limit])]
        fills.append((number, part, min(bounds) if direction == BUY else max(bounds)))
        left -= part
        if not left:
            break
    return fills, None


@settings(max_examples=200, deadline=None)
@given(ORDERS, logs(), SLIPPAGE)
def test_it_does_what_the_rules_say_in_words(order, log, slippage):
    fills, expired = executed(resting(*order), log, slippage)
    expected, end = oracle(*order, log, slippage)
    assert [(f.volume, f.price) for f in fills] == [(volume, to_units(price)) for _, volume, price in expected]
    assert [f.timestamp for f in fills] == [log[place].as_tick(place).timestamp for place, _, _ in expected]
    assert (expired is not None) == (end is not None)
    if expired is not None and end is not None:
        assert expired.timestamp == log[end].as_tick(end).timestamp
        assert expired.remaining == order[1] - sum(f.volume for f in fills)
    event(
        "expired"
        if expired
        else f"{min(len(fills), 3)} fills, {'all' if expected and not fills[-1].remaining else 'part'}"
    )


@settings(max_examples=200, deadline=None)
@given(ORDERS, logs(), SLIPPAGE)
def test_nothing_is_traded_that_the_market_could_not_have_traded(order, log, slippage):
    direction, volume, cents = order
    fills, _ = executed(resting(*order), log, slippage)
    assert sum(fill.volume for fill in fills) <= volume
    by_time = {price.as_tick(number).timestamp: price for number, price in enumerate(log) if price.ours}
    for fill in fills:
        price = by_time[fill.timestamp]
        last = to_units(price.cents / 100)
        assert fill.volume > 0 and (price.volume is None or fill.volume <= price.volume)
        assert to_units(DOWN) <= fill.price <= to_units(UP)
        assert last != to_units(UP if direction == BUY else DOWN)
        assert (fill.price - last) * direction >= 0, "slippage is never a gift"
        if cents is not None:
            assert (to_units(cents / 100) - fill.price) * direction >= 0, "a limit is never passed"
        assert fill.amount == fill.price * fill.volume
    assert len({fill.fill_id for fill in fills}) == len(fills)


@settings(max_examples=200, deadline=None)
@given(ORDERS, logs(), SLIPPAGE, st.integers(0, CAUSED_AT + 1))
def test_it_is_the_same_from_wherever_before_its_first_price_the_log_is_read(order, log, slippage, begin):
    assert executed(resting(*order), log, slippage, begin) == executed(resting(*order), log, slippage)


@settings(max_examples=200, deadline=None)
@given(ORDERS, logs(), SLIPPAGE, st.data())
def test_dying_and_reading_again_from_anywhere_changes_no_fill(order, log, slippage, data):
    """Between any two prices: the order as it was saved, and the log from any earlier place on."""
    whole, whole_end = executed(resting(*order), log, slippage)
    cut = data.draw(st.integers(0, len(log)))
    saved = resting(*order)
    before: list[Fill] = []
    for number, price in enumerate(log[:cut]):
        after, done = met(saved, price.as_tick(number), Cause(TOPIC, 3, number), slippage)
        if isinstance(done, Expired):
            assert (before, done) == (whole, whole_end)
            return
        saved = after
        before += [done] if done is not None else []
        if not saved.remaining:
            break
    if saved.remaining:
        rest_of_it, end = executed(saved, log, slippage, data.draw(st.integers(0, cut)))
        assert before + rest_of_it == whole
        assert end == whole_end
    else:
        assert before == whole
