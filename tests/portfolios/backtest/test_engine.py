"""The loop: the same answers as live, in the same order, and the same trades as a plain oracle."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, timedelta
from decimal import ROUND_FLOOR, ROUND_HALF_UP, Decimal
from uuid import UUID, uuid5

import pytest

from portfolios.backtest.errors import BacktestError
from portfolios.backtest.places import Place, locate
from portfolios.kernel.events import Feedback, PriceUpdate
from portfolios.kernel.money import to_units
from tests.portfolios.backtest.support import PORTFOLIO_ID, backtest, document
from tests.portfolios.kernel.harness import CODE, Market, close_of, config, tick
from tests.support.components import ONE_LOT, RECORDER

OTHER = "000001.SZ"


def closes(prices: list[float], code: str = CODE, start: int = 0) -> list[PriceUpdate]:
    before = [None, *prices[:-1]]
    return [
        tick(price, close_of(number), code, prev_close=last)
        for number, (price, last) in enumerate(zip(prices, before, strict=True), start)
    ]


def walk(days: int, seed: int = 5, start: float = 50.0) -> list[float]:
    draw = random.Random(seed)
    prices = [start]
    for _ in range(days - 1):
        prices.append(round(prices[-1] * (1 + draw.uniform(-0.04, 0.04)), 2))
    return prices


RISE = [10.0, 9.9, 9.8, 10.2, 10.4, 10.6]


def test_an_order_is_named_after_the_place_of_its_cause_and_fills_at_the_next_price() -> None:
    run = backtest(document(), locate=lambda code: Place("a.topic", 4), slippage_rate=0.0)
    other = closes([5.0] * 6, OTHER)
    ticks = [each for pair in zip(other, closes(RISE), strict=True) for each in pair]
    found = run.run(ticks)
    # The cross is in the fourth price of the code, the eighth of the partition.
    assert [order.cause for order in found.orders] == ["a.topic:4:7:0"]
    (order,), (traded,) = found.orders, found.fills
    assert order.order_id == str(uuid5(UUID(PORTFOLIO_ID), "a.topic:4:7:0:0"))
    assert traded.fill.fill_id == str(uuid5(UUID(order.order_id), "a.topic:4:9"))
    assert (traded.fill.price, traded.day, traded.prev_close) == (
        to_units(10.4),
        close_of(4).date(),
        to_units(10.2),
    )


def test_the_answers_are_those_of_the_engine_numbered_densely() -> None:
    run = backtest(document())
    heard: list[Feedback] = []
    apply = run._portfolio.apply

    class Listening:
        def __getattr__(self, name: str) -> object:
            return getattr(run_portfolio, name)

        def apply(self, event: PriceUpdate | Feedback, cause: object) -> object:
            if isinstance(event, Feedback):
                heard.append(event)
            return apply(event, cause)  # type: ignore[arg-type]

    run_portfolio = run._portfolio
    run._portfolio = Listening()  # type: ignore[assignment]
    found = run.run(closes(walk(120)))
    assert len(found.fills) > 10
    assert [each.pseq for each in heard] == list(range(1, len(heard) + 1))
    told: dict[str, list[Feedback]] = {}
    for each in heard:
        told.setdefault(each.order_id, []).append(each)
    for order in found.orders[:-1]:
        assert [(each.seq, each.event_type, each.status) for each in told[order.order_id]] == [
            (1, "order_ack", "accepted"),
            (2, "order_filled", "filled"),
        ]
        assert told[order.order_id][0].timestamp == order.timestamp


def test_a_crossing_of_averages_trades_as_a_plain_oracle_says() -> None:
    prices = walk(700, seed=8)
    found = backtest(document(params={"short_period": 5, "long_period": 20}), slippage_rate=0.001).run(closes(prices))
    assert [(each.day, each.fill.direction, each.fill.volume, each.fill.price) for each in found.fills] == [
        (close_of(at).date(), side, volume, to_units(price)) for at, side, volume, price in _oracle(prices, 5, 20)
    ]
    assert len(found.fills) > 20


def _oracle(prices: list[float], short: int, long: int) -> list[tuple[int, int, int, Decimal]]:
    """SMA cross on daily closes, bought and sold at the next close; orders of a limit day trade on no later day."""
    exact = [Decimal(str(price)) for price in prices]
    cent = Decimal("0.01")
    trades: list[tuple[int, int, int, Decimal]] = []
    held, above, wanted = 0, None, 0
    for at, price in enumerate(exact):
        # A price is decided on before its own fills are told.
        known, buying = held, wanted > 0
        if wanted and at:
            up = (exact[at - 1] * Decimal("1.1")).quantize(cent, ROUND_HALF_UP)
            down = (exact[at - 1] * Decimal("0.9")).quantize(cent, ROUND_HALF_UP)
            if wanted > 0 and price < up:
                worse = -((-price * Decimal("1.001")).quantize(cent, ROUND_FLOOR))
                trades.append((at, 1, wanted, min(worse, up)))
                held = wanted
            elif wanted < 0 and price > down:
                worse = (price * Decimal("0.999")).quantize(cent, ROUND_FLOOR)
                trades.append((at, -1, -wanted, max(worse, down)))
                held = 0
        wanted = 0
        if at + 1 >= long:
            mean = sum(exact[at + 1 - short : at + 1]) / short
            slow = sum(exact[at + 1 - long : at + 1]) / long
            now = above if mean == slow else mean > slow
            if above is not None and now is not above:
                if now and not known and not buying:
                    wanted = int(100_000 / price) // 100 * 100
                elif not now:
                    wanted = -known
            above = now
    return trades


@pytest.mark.parametrize("strategy", ["TrendFollowStrategy", "MeanReversionStrategy", "MomentumStrategy"])
def test_it_does_what_the_kernels_own_little_exchange_does(strategy: str) -> None:
    params = {"short_period": 2, "long_period": 5} if strategy == "TrendFollowStrategy" else {"period": 20}
    market = Market(config(strategy, params), slippage=0.001)
    ticks = closes(walk(400, seed=2))
    for each in ticks:
        market.show(each)
    run = backtest(document(strategy, params), locate=lambda code: Place("ginkgo.live.market.data", 0))
    found = run.run(ticks)
    assert found.orders == market.orders
    assert [each.fill for each in found.fills] == market.fills
    assert found.equity[-1] == market.portfolio.total_value
    assert len(found.fills) > 5


def test_the_value_is_noted_at_the_end_of_each_session() -> None:
    minutes = [
        tick(price, datetime(2024, 1, day, 2, minute, tzinfo=UTC), prev_close=10.0)
        for day in (2, 3, 4)
        for minute, price in enumerate((10.0, 10.1, 10.2))
    ]
    seen: list[date] = []
    found = backtest(document(), on_session=seen.append).run(minutes)
    assert found.days == seen == [date(2024, 1, 2), date(2024, 1, 3), date(2024, 1, 4)]
    assert list(found.closes[CODE]) == [10.2, 10.2, 10.2]
    assert len(found.equity) == 3
    assert found.bars == 9


def test_prices_before_the_start_warm_up_and_trade_nothing_but_count_in_the_offsets() -> None:
    ticks = closes(RISE)
    start = close_of(3).date()
    found = backtest(document(), locate=lambda code: Place("t", 0)).run(ticks, start=start)
    assert (found.warmup, found.bars, found.days[0]) == (3, 3, start)
    assert [order.cause for order in found.orders] == ["t:0:3:0"]


def test_prices_after_the_end_are_not_read_on() -> None:
    ticks = iter(closes(RISE))
    found = backtest(document()).run(ticks, end=close_of(2).date())
    assert (found.bars, found.days[-1]) == (3, close_of(2).date())
    assert len(list(ticks)) == 2


def test_an_order_that_met_no_price_expires_and_the_next_session_is_told() -> None:
    # At the limit nothing can be bought.
    prices = [10.0, 9.9, 9.8, 10.2, 11.22, 11.5]
    found = backtest(document()).run(closes(prices))
    assert (len(found.orders), len(found.fills), found.expired, found.open_orders) == (1, 0, 1, 0)
    assert found.cash == found.initial_cash


def test_without_prev_close_the_limits_follow_from_the_last_price_of_the_session_before() -> None:
    prices = [10.0, 9.9, 9.8, 10.2, 11.22, 11.5]
    found = backtest(document()).run([tick(price, close_of(number)) for number, price in enumerate(prices)])
    assert (len(found.fills), found.expired) == (0, 1)


def test_the_gate_refuses_an_order_with_its_reason() -> None:
    refused: list[str] = []

    def gate(order: object, portfolio: object) -> str | None:
        refused.append("order_value")
        return "order_value"

    run = backtest(document(), gate=gate)
    found = run.run(closes(RISE))
    assert [each.reason for each in found.refusals] == refused == ["order_value"]
    assert not found.fills
    assert run._portfolio.frozen == 0


def test_volume_caps_what_is_filled_and_the_rest_ends_with_the_session() -> None:
    first = [tick(price, close_of(number), prev_close=10.0) for number, price in enumerate(RISE[:4])]
    opening = close_of(4) - timedelta(hours=4)
    later = [tick(10.4, opening, prev_close=10.2, volume=300), tick(10.4, close_of(5), prev_close=10.4, volume=10**6)]
    found = backtest(document()).run([*first, *later])
    assert [(each.fill.volume, each.fill.remaining > 0) for each in found.fills] == [(300, True)]
    assert found.expired == 1
    assert found.positions == {CODE: 300}


def test_no_prices_in_the_time_is_an_error_that_says_so() -> None:
    with pytest.raises(BacktestError, match="no prices from 2031-01-01 on"):
        backtest(document()).run(closes(RISE), start=date(2031, 1, 1))
    with pytest.raises(BacktestError, match="no prices in the data"):
        backtest(document()).run([])


def test_a_component_that_fails_is_named_with_the_price_it_failed_at() -> None:
    run = backtest(document())

    def broken(memory: object, event: object) -> None:
        raise ZeroDivisionError("division by zero")

    run._portfolio._decide = broken  # type: ignore[assignment]
    with pytest.raises(BacktestError, match=r"TrendFollowStrategy.* failed at 600519.SH.*division by zero"):
        run.run(closes(RISE))


def test_codes_of_one_partition_share_its_offsets() -> None:
    codes = [f"60000{number}.SH" for number in range(10)]
    places = [locate(code) for code in codes]
    assert len(set(places)) < len(codes)
    run = backtest(document(codes=codes))
    run.run([tick(10.0, close_of(number), code) for number in range(3) for code in codes])
    assert {tuple(place): run._partitions[place].offset for place in set(places)} == {
        tuple(place): 3 * places.count(place) for place in set(places)
    }


def test_what_one_price_does_to_several_orders_is_told_by_their_ids() -> None:
    told: list[Feedback] = []
    wanted = {
        "strategy": {"name": RECORDER, "params": {"every": 1}},
        "sizer": {"name": ONE_LOT},
        "codes": [CODE],
        "policy": {"pyramiding": True},
    }
    opening = close_of(3) - timedelta(hours=5)
    minutes = [tick(10.0, opening + timedelta(minutes=number), volume=0) for number in range(6)]
    found = backtest(wanted, hear=told.append).run([*minutes, tick(10.0, opening + timedelta(hours=1))])
    filled = [each.order_id for each in told if each.event_type == "order_filled"]
    decided = [each.order_id for each in found.orders[:6]]
    assert filled == sorted(decided) == [each.fill.order_id for each in found.fills]
    assert filled != decided
    assert [each.pseq for each in told] == list(range(1, len(told) + 1))
