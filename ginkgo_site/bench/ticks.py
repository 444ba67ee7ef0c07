"""The market of the benchmarks: 5,000 codes, a snapshot of each every three seconds, as an A-share feed has them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, time, timedelta
from typing import Any

from ginkgo_site.bench.witness import MARK
from market.messages import PriceUpdate

OPENING = datetime(2026, 11, 20, 1, 30, tzinfo=UTC)
"""09:30 in Shanghai on a trading day."""
_EVERY = timedelta(seconds=3)
_STEP = 10
"""From one code of a share to the next, where 5,000 codes are shared out 500 each."""


def codes(count: int = 5000) -> list[str]:
    """That many well-formed codes, half of Shanghai, half of Shenzhen."""
    shanghai = [f"{600000 + i}.SH" for i in range(count - count // 2)]
    shenzhen = [f"{1 + i:06d}.SZ" for i in range(count // 2)]
    return [code for pair in zip(shanghai, shenzhen, strict=False) for code in pair] + shanghai[len(shenzhen) :]


def shares(all_codes: Sequence[str], portfolios: int, each: int) -> list[list[str]]:
    """What each of `portfolios` trades: `each` codes of its own, from all over the list."""
    step = max(1, len(all_codes) // each)
    if portfolios > step:
        raise ValueError(f"{len(all_codes)} codes are too few for {portfolios} portfolios with {each} each")
    return [list(all_codes[i::step][:each]) for i in range(portfolios)]


def next_snapshot(now: datetime) -> datetime:
    return now + _EVERY


def next_minute(now: datetime) -> datetime:
    """Of a trading session: noon and nights are left out, and weekends. What was bought can soon be sold."""
    later = now + timedelta(minutes=1)
    if later.time() == time(3, 30):
        return later + timedelta(minutes=90)
    if later.time() < time(7):
        return later
    return now.replace(hour=1, minute=30) + timedelta(days=3 if now.weekday() == 4 else 1)


def walk(
    all_codes: Sequence[str],
    count: int,
    seed: int = 11,
    every: int = 0,
    after: Callable[[datetime], datetime] = next_snapshot,
) -> Iterator[PriceUpdate]:
    """`count` ticks, one code after the other, round after round: each price a random walk in steps of 0.01.

    `after` tells the time of the next round. With `every` they are as a witness wants them: numbered by code, and of
    each code one in `every` marked; those of one share that are marked in a round are evenly spread over it.
    """
    rng = random.Random(seed)
    cents = [rng.randint(500, 20_000) for _ in all_codes]
    opened, high, low = list(cents), list(cents), list(cents)
    volumes = range(100, 100_000, 100)
    made = 0
    now = OPENING
    while made < count:
        number = made // len(all_codes) + 1
        steps = rng.choices((-1, 0, 0, 1), k=len(all_codes))
        traded = rng.choices(volumes, k=len(all_codes))
        for i, code in enumerate(all_codes[: count - made]):
            # Within the day's limits, whatever the walk: a price outside them would be refused, and cost nothing.
            first = opened[i]
            price = cents[i] = min(max(cents[i] + steps[i], int(first * 0.92)), int(first * 1.08))
            if price > high[i]:
                high[i] = price
            elif price < low[i]:
                low[i] = price
            marked = bool(every) and (i // _STEP + number) % every == 0
            yield PriceUpdate(
                code=code,
                timestamp=now,
                price=price / 100,
                prev_close=first / 100,
                volume=traded[i],
                open=first / 100,
                high=high[i] / 100,
                low=low[i] / 100,
                bid_price=(price - 1) / 100,
                ask_price=price / 100,
                bid_volume=number if every else 300,
                ask_volume=MARK if marked else 500,
            )
        made += len(all_codes)
        now = after(now)


def trend_follow(wanted: Sequence[str], short: int = 20, long: int = 60) -> dict[str, Any]:
    """A portfolio's configuration: the sample's components on `wanted`."""
    return {
        "strategy": {"name": "TrendFollowStrategy", "params": {"short_period": short, "long_period": long}},
        "risk_managements": [
            {"name": "PositionRatioRisk", "params": {"max_position_ratio": 0.3, "max_total_position_ratio": 0.9}},
            {"name": "LossLimitRisk", "params": {"loss_limit": 8}},
        ],
        "sizer": {"name": "FixedAmountSizer", "params": {"amount": 20_000}},
        "codes": list(wanted),
    }
