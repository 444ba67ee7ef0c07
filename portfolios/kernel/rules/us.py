"""US shares in a cash account: in USD, whole shares, what was bought may be sold the same day, no daily price limits.

Sources: price step 0.01 from a dollar on, 0.0001 below (Regulation NMS, rule 612); SEC fee on sales by its fee rate
advisories under section 31 of the Exchange Act; FINRA trading activity fee on sales (FINRA By-Laws, Schedule A,
section 1), with its cap per trade. Rates known up to 2025-05-14 (SEC) and 2024-01-01 (FINRA); the last one holds
until a newer is entered here. Not modelled: limit-up limit-down pauses, early closes, selling short.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import date, time
from zoneinfo import ZoneInfo

from portfolios.kernel.money import CENT, UNIT, ceil_to, round_to_cent
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.sessions import Sessions, Tiled

_BILLION = 1_000_000_000
# Parts per billion of the amount sold: 27.80 USD a million is 27,800.
_SEC_FEE = (
    (date.min, 0), (date(2019, 4, 16), 20_700), (date(2020, 2, 18), 22_100), (date(2021, 2, 25), 5_100),
    (date(2022, 5, 14), 22_900), (date(2023, 2, 27), 8_000), (date(2024, 5, 22), 27_800), (date(2025, 5, 14), 0),
)  # fmt: skip
# Millionths of a dollar a share sold, and the cap of a trade in units.
_TAF = (
    (date.min, 119, 59_500), (date(2022, 1, 1), 130, 64_900), (date(2023, 1, 1), 145, 72_700),
    (date(2024, 1, 1), 166, 83_000),
)  # fmt: skip


class UsRules(Tiled):
    market = "us"
    currency = "USD"
    t_plus = 0
    shorting = False
    zone = ZoneInfo("America/New_York")
    hours = ((time(9, 30), time(16, 0)),)

    def __init__(self, trading_days: Sequence[date] = (), *, commission_rate: float = 0.0003) -> None:
        """`commission_rate`: share of the amount the broker takes."""
        super().__init__(Sessions(self.zone, time(16, 0), trading_days))
        self._commission = round(commission_rate * _BILLION)

    def multiplier(self, code: str) -> int:
        return 1

    def margin_rate(self, code: str) -> int:
        return 0

    def tick_size(self, code: str, day: date, price: int = UNIT) -> int:
        return CENT if price >= UNIT else 1

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        return max(volume, 0)

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        return None

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        if amount <= 0:
            return Fees(0, 0)
        tax = 0
        if direction == SELL:
            rate = _SEC_FEE[bisect_right([since for since, _ in _SEC_FEE], day) - 1][1]
            _, a_share, cap = _TAF[bisect_right([since for since, _, _ in _TAF], day) - 1]
            activity = min(-(-volume * a_share // 100), cap)
            tax = ceil_to(-(-amount * rate // _BILLION), CENT) + ceil_to(activity, CENT)
        return Fees(round_to_cent(amount * self._commission, _BILLION), tax)
