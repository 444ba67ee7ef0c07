"""Hong Kong shares: HKEX main board, in HKD, T+0 (what was bought may be sold the same day), no daily price limits.

Sources: stamp duty 0.1 % each side, 0.13 % from 2021-08-01 to 2023-11-16, rounded up to the dollar (Stamp Duty
Ordinance, Cap. 117, First Schedule, and its amendments of 2021 and 2023); SFC transaction levy 0.0027 % from
2014-11-01; AFRC levy 0.00015 % from 2022-01-01; HKEX trading fee 0.005 %, 0.00565 % from 2023-01-01 (HKEX, "Transaction
Fees"); price steps by the spread table of the Rules of the Exchange, Second Schedule, with its phase 1 reduction
of 2025-08-04. Board lots are set by each issuer: `lots` names them, 100 is assumed for the others. Not modelled:
settlement fees, which depend on the broker, and the volatility control mechanism.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from datetime import date, time, timedelta, timezone

from portfolios.kernel.money import UNIT, ceil_to, round_to_cent, to_units
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.sessions import Sessions, Tiled

HONG_KONG = timezone(timedelta(hours=8), "Asia/Hong_Kong")

_BILLION = 1_000_000_000
_STAMP_DUTY = ((date.min, 1_000_000), (date(2021, 8, 1), 1_300_000), (date(2023, 11, 17), 1_000_000))
_TRADING_FEE = ((date.min, 50_000), (date(2023, 1, 1), 56_500))
_AFRC_LEVY = ((date.min, 0), (date(2022, 1, 1), 1_500))
_SFC_LEVY = 27_000

_SPREADS = ((0.0, 0.001), (0.25, 0.005), (0.5, 0.01), (10, 0.02), (20, 0.05), (100, 0.1), (200, 0.2), (500, 0.5),
            (1000, 1.0), (2000, 2.0), (5000, 5.0))  # fmt: skip
_SPREADS_2025 = ((0.0, 0.001), (0.25, 0.005), (0.5, 0.01), (20, 0.02), (50, 0.05), (100, 0.1), (200, 0.2), (500, 0.5),
                 (1000, 1.0), (2000, 2.0), (5000, 5.0))  # fmt: skip
_PHASE_1 = date(2025, 8, 4)


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
        commission_rate: float = 0.0003,
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
        table = _SPREADS_2025 if day >= _PHASE_1 else _SPREADS
        place = bisect_right([to_units(float(start)) for start, _ in table], price) - 1
        return to_units(table[max(place, 0)][1])

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        if direction == SELL and volume >= held > 0:
            return held
        lot = self._lots.get(code, 100)
        return max(volume, 0) // lot * lot

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        return None

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        if amount <= 0:
            return Fees(0, 0)
        stamp_duty = ceil_to(-(-amount * _at(_STAMP_DUTY, day) // _BILLION), UNIT)
        levies = sum(
            round_to_cent(amount * rate, _BILLION) for rate in (_SFC_LEVY, _at(_AFRC_LEVY, day), _at(_TRADING_FEE, day))
        )
        return Fees(round_to_cent(amount * self._commission, _BILLION), stamp_duty + levies)


def _at(dated: Sequence[tuple[date, int]], day: date) -> int:
    return dated[bisect_right([since for since, _ in dated], day) - 1][1]
