"""A-share rules (SPEC P7), dated. Bands, ticks, stamp duty, transfer fee and minimum commission are looked up in
`marina_rules`, whose records cite the notices; lots are those of the exchanges' trading rules:

* main boards and ChiNext: buys in lots of 100, an odd remainder is sold whole (SSE and SZSE trading rules 2023, 3.3.8);
* STAR: at least 200, then single shares (SSE STAR special provisions, art. 20);
* BSE: at least 100, then single shares (BSE trading rules, 3.3.7).

Not modelled: free prices in the first sessions after a listing (the kernel does not know listing days).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, time, timedelta, timezone
from functools import cache
from typing import Any, NamedTuple

from portfolios.kernel.money import CENT, round_to_cent, to_units
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.sessions import Sessions, Tiled

SHANGHAI = timezone(timedelta(hours=8), "Asia/Shanghai")  # no daylight saving since 1991

COMMISSION = 0.0003

_PPM = 1_000_000
_EXCHANGES = {"SH": "XSHG", "SZ": "XSHE", "BJ": "BJSE"}
_FUNDS = ("etf", "etf_20pct")


class _Band(NamedTuple):
    """A code's price band while in force (`since <= day < until`): shares in parts per million, tick in units."""

    since: date
    until: date
    up: int
    down: int
    tick: int
    one_tick_floor: bool
    free: bool


class _Rates(NamedTuple):
    since: date
    until: date
    stamp_duty: int
    transfer: int
    minimum: int


def scope_of(code: str, st: bool = False) -> str:
    """The `marina_rules` scope of a code: its board, or its board under special treatment (`st`)."""
    digits, _, exchange = code.partition(".")
    if exchange == "BJ":
        return "st_bse" if st else "bse"
    if exchange == "SH":
        if digits.startswith("68"):
            return "st_star" if st else "star"
        if digits.startswith("900"):
            return "st_b_share" if st else "b_share"
        if digits.startswith("5"):
            return "etf"
    if exchange == "SZ":
        if digits.startswith("30"):
            return "st_chinext" if st else "chinext"
        if digits.startswith("200"):
            return "st_b_share" if st else "b_share"
        if digits.startswith(("15", "16", "18")):
            return "etf"
    return "st_main" if st else "main_board"


class CnRules(Tiled):
    """SSE, SZSE and BSE shares and exchange-traded funds, T+1, paid in full in CNY."""

    market = "cn"
    currency = "CNY"
    t_plus = 1
    shorting = False
    zone = SHANGHAI
    hours = ((time(9, 30), time(11, 30)), (time(13, 0), time(15, 0)))

    def __init__(self, trading_days: Sequence[date] = (), *, commission_rate: float = COMMISSION) -> None:
        """`commission_rate`: share of the amount the broker takes, at least 5 CNY an order."""
        super().__init__(Sessions(SHANGHAI, time(15, 0), trading_days))
        self._commission = round(commission_rate * _PPM)
        self._bands: dict[tuple[str, bool], _Band] = {}
        self._rates: dict[bool, _Rates] = {}

    def multiplier(self, code: str) -> int:
        return 1

    def margin_rate(self, code: str) -> int:
        return 0

    def tick_size(self, code: str, day: date, price: int = 0) -> int:
        return self._band(code, day, False).tick

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        if volume <= 0:
            return 0
        if direction == SELL and volume >= held > 0:
            return held
        scope = scope_of(code)
        if scope == "star":
            return volume if volume >= 200 else 0
        if scope == "bse":
            return volume if volume >= 100 else 0
        return volume // 100 * 100

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        band = self._band(code, day, st)
        if band.free:
            return None
        tick = band.tick
        whole = _PPM * tick
        high = (2 * prev_close * (_PPM + band.up) + whole) // (2 * whole) * tick
        low = (2 * prev_close * (_PPM - band.down) + whole) // (2 * whole) * tick
        if band.one_tick_floor:
            if high - prev_close < tick:
                high = (2 * (prev_close + tick) + tick) // (2 * tick) * tick
            if prev_close - low < tick:
                low = (2 * (prev_close - tick) + tick) // (2 * tick) * tick
        return max(low, tick), high

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        """Commission; stamp duty on sales (not on funds) and transfer fee as tax."""
        if amount <= 0:
            return Fees(0, 0)
        fund = scope_of(code) in _FUNDS
        rates = self._rates_on(day, fund)
        commission = max(round_to_cent(amount * self._commission, _PPM), rates.minimum)
        tax = round_to_cent(amount * rates.transfer, _PPM)
        if direction == SELL:
            tax += round_to_cent(amount * rates.stamp_duty, _PPM)
        return Fees(commission, tax)

    def _band(self, code: str, day: date, st: bool) -> _Band:
        band = self._bands.get((code, st))
        if band is None or not band.since <= day < band.until:
            scope = scope_of(code, st)
            exchange = _EXCHANGES.get(code.rpartition(".")[2])
            pct, since, until = _in_force("price_limit_pct", scope, exchange, day)
            tick, tick_since, tick_until = _in_force("tick_size", _family(scope), exchange, day)
            floor, floor_since, floor_until = _in_force("limit_price_min_tick", "stock", exchange, day)
            sides = pct if isinstance(pct, dict) else {"up": pct, "down": pct}
            free = pct is None or pct == "unlimited"
            band = self._bands[(code, st)] = _Band(
                since=max(since, tick_since, floor_since),
                until=min(until, tick_until, floor_until),
                up=0 if free else round(sides["up"] * _PPM),
                down=0 if free else round(sides["down"] * _PPM),
                tick=CENT if tick is None else to_units(tick),
                one_tick_floor=floor is True,
                free=free,
            )
        return band

    def _rates_on(self, day: date, fund: bool) -> _Rates:
        rates = self._rates.get(fund)
        if rates is None or not rates.since <= day < rates.until:
            stamp, since, until = _in_force("stamp_duty_sell", "stock", None, day)
            transfer, transfer_since, transfer_until = _in_force("transfer_fee_each_side", "stock", None, day)
            minimum, minimum_since, minimum_until = _in_force("commission_min_per_order_cny", "stock", None, day)
            rates = self._rates[fund] = _Rates(
                since=max(since, transfer_since, minimum_since),
                until=min(until, transfer_until, minimum_until),
                # Funds pay neither: stamp duty is on shares (MOF notice 2008-09-18), transfer fee on A-shares.
                stamp_duty=0 if fund else round((stamp or 0) * _PPM),
                transfer=0 if fund else round((transfer or 0) * _PPM),
                minimum=to_units(float(minimum or 0)),
            )
        return rates


def _family(scope: str) -> str:
    if scope in _FUNDS:
        return "etf"
    return "b_share" if scope.endswith("b_share") else "stock"


def _in_force(rule: str, scope: str, exchange: str | None, day: date) -> tuple[Any, date, date]:
    """(value, since, until) of a dated rule; the value is None where no record covers the day."""
    starts, values = _timeline(rule, scope, exchange)
    place = bisect_right(starts, day) - 1
    until = starts[place + 1] if place + 1 < len(starts) else date.max
    return values[place], starts[place], until


@cache
def _timeline(rule: str, scope: str, exchange: str | None) -> tuple[list[date], list[Any]]:
    """The dated values of a rule from `date.min` on; None where no record is in force."""
    import marina_rules  # parses 200 KB of YAML on first use: only a process that trades this market pays

    starts: list[date] = [date.min]
    values: list[Any] = [None]
    records = [
        record
        for record in marina_rules.records()
        if record.rule == rule and record.scope == scope and (exchange is None or exchange in record.market.split("+"))
    ]
    for record in sorted(records, key=lambda record: record.effective_from):
        since = date.fromisoformat(record.effective_from)
        if starts[-1] == since:
            values[-1] = record.value
        else:
            starts.append(since)
            values.append(record.value)
        if record.effective_to is not None:
            starts.append(date.fromisoformat(record.effective_to))
            values.append(None)
    return starts, values
