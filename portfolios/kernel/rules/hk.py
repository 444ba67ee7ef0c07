"""Hong Kong shares: HKEX main board, in HKD, T+0 (what was bought may be sold the same day), no daily price limits.

All fees are taken on both sides of a trade. Sources, looked up in October 2026:

* stamp duty 0.1 %, 0.13 % from 2021-08-01 to 2023-11-16, rounded up to the dollar (Stamp Duty Ordinance, Cap. 117,
  First Schedule, with its amendments of 2021 and 2023);
* SFC transaction levy 0.003 % from 2010-10-01, 0.0027 % from 2014-11-01; AFRC transaction levy 0.00015 % from
  2022-01-01; trading fee 0.005 %, 0.00565 % from 2023-01-01; each rounded to the cent (HKEX, Fees, Securities (Hong
  Kong), Trading, "Transaction"). The rise of the trading fee took in the trading tariff of HKD 0.50 a trade, which
  until then each broker passed on or not: it is not charged here;
* stock settlement fee 0.002 %, at least HKD 2 and at most HKD 100 a trade; from 2025-06-30 0.0042 % without either
  (HKEX, Fees, Clearing and Settlement, "Operational"; HKEX news release of 2025-02-21). An order counts as one trade;
* price steps: Rules of the Exchange, Second Schedule, Part A. Each band includes its upper end ("over 10.00 to
  20.00"). Reduction of minimum spreads, phase 1 on 2025-08-04, phase 2 on 2026-08-03 (HKEX, "Reduction of Minimum
  Spreads").

The broker's commission has been free to agree since 2003-04-01 (the same page): 0.03 % is assumed, without a minimum.
Board lots are set by each issuer: `lots` names them, 100 is assumed for the others. Not modelled: that funds pay no
stamp duty and have a spread table of their own (the kernel does not know funds from shares), odd-lot trading, the
volatility control mechanism.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta, timezone
from typing import NamedTuple

from portfolios.kernel.money import UNIT, ceil_to, round_to_cent, to_units
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.dated import Dated
from portfolios.kernel.rules.sessions import Sessions, Tiled

HONG_KONG = timezone(timedelta(hours=8), "Asia/Hong_Kong")
COMMISSION = 0.0003

# Shares in parts per billion: 0.1 % is 1,000,000.
_BILLION = 1_000_000_000
_STAMP_DUTY = Dated((date.min, 1_000_000), (date(2021, 8, 1), 1_300_000), (date(2023, 11, 17), 1_000_000))
_SFC_LEVY = Dated((date(2010, 10, 1), 30_000), (date(2014, 11, 1), 27_000))
_AFRC_LEVY = Dated((date.min, 0), (date(2022, 1, 1), 1_500))
_TRADING_FEE = Dated((date.min, 50_000), (date(2023, 1, 1), 56_500))


class _Settlement(NamedTuple):
    """The settlement fee: parts per billion, and its bounds in units (None: no bound)."""

    share: int
    least: int = 0
    most: int | None = None


_SETTLEMENT = Dated((date.min, _Settlement(20_000, 2 * UNIT, 100 * UNIT)), (date(2025, 6, 30), _Settlement(42_000)))


class _Spreads:
    """A spread table: (upper end of a band, included; its price step), in HKD. The last step also holds above."""

    def __init__(self, *bands: tuple[float, float]) -> None:
        self._ends = [to_units(float(end)) for end, _ in bands]
        self._steps = [to_units(float(step)) for _, step in bands]

    def step(self, price: int) -> int:
        return self._steps[min(bisect_left(self._ends, price), len(self._steps) - 1)]


_HIGH = ((200, 0.1), (500, 0.2), (1000, 0.5), (2000, 1), (5000, 2), (9995, 5))
_SPREADS = Dated(
    (date.min, _Spreads((0.25, 0.001), (0.5, 0.005), (10, 0.01), (20, 0.02), (100, 0.05), *_HIGH)),
    (date(2025, 8, 4), _Spreads((0.25, 0.001), (0.5, 0.005), (20, 0.01), (50, 0.02), (100, 0.05), *_HIGH)),
    (date(2026, 8, 3), _Spreads((0.25, 0.001), (10, 0.005), (20, 0.01), (50, 0.02), (100, 0.05), *_HIGH)),
)


class HkRules(Tiled):
    market = "hk"
    currency = "HKD"
    t_plus = 0
    shorting = False
    zone = HONG_KONG
    hours = ((time(9, 30), time(12, 0)), (time(13, 0), time(16, 0)))

    def __init__(
        self,
        trading_days: Sequence[date] = (),
        *,
        commission_rate: float = COMMISSION,
        lots: Mapping[str, int] | None = None,
    ) -> None:
        """`commission_rate`: share of the amount the broker takes; `lots`: board lot by code."""
        super().__init__(Sessions(HONG_KONG, time(16, 0), trading_days))
        self._commission = round(commission_rate * _BILLION)
        self._lots = dict(lots or {})

    def multiplier(self, code: str) -> int:
        return 1

    def margin_rate(self, code: str) -> int:
        return 0

    def tick_size(self, code: str, day: date, price: int = 0) -> int:
        return _SPREADS.at(day).step(price)

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        if direction == SELL and volume >= held > 0:
            return held
        lot = self._lots.get(code, 100)
        return max(volume, 0) // lot * lot

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        return None

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        """Commission; stamp duty, levies, trading and settlement fee as tax."""
        if amount <= 0:
            return Fees(0, 0)
        stamp_duty = ceil_to(-(-amount * _STAMP_DUTY.at(day) // _BILLION), UNIT)
        levies = (_SFC_LEVY.at(day), _AFRC_LEVY.at(day), _TRADING_FEE.at(day))
        tax = stamp_duty + sum(round_to_cent(amount * share, _BILLION) for share in levies)
        return Fees(round_to_cent(amount * self._commission, _BILLION), tax + _settlement_fee(amount, day))


def _settlement_fee(amount: int, day: date) -> int:
    fee = _SETTLEMENT.at(day)
    due = max(round_to_cent(amount * fee.share, _BILLION), fee.least)
    return due if fee.most is None else min(due, fee.most)
