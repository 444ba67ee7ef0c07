"""US shares in a cash account: in USD, whole shares, what was bought may be sold the same day, no daily price limits.

Sources, looked up in October 2026:

* SEC fee on sales: fee rate advisories under section 31 of the Exchange Act (sec.gov, "Fee Rate Advisories"), the
  last ones Release 34-102779 (zero from 2025-05-14) and Release 34-104909 (USD 20.60 a million from 2026-04-04);
* FINRA trading activity fee on sales, with its cap a trade: FINRA By-Laws, Schedule A, section 1; notice 12-31
  (2012); SR-FINRA-2020-032 (2022 to 2024); fee adjustment schedule SR-FINRA-2024-019 (2026 to 2028);
  SR-FINRA-2026-021 (none from 2026-10-01 to 2026-12-31). An order counts as one trade;
* price step 0.01 from a dollar on, 0.0001 below (Regulation NMS, rule 612).

Both fees are rounded up to the cent, as brokers pass them on. The last row of a table holds until a newer is entered.
The commission is zero, as at most retail brokers since October 2019, unless `commission_rate` says otherwise. Not
modelled: the half-cent step of some shares (rule 612 as amended, by each share's measured spread), the fees of the
consolidated audit trail (a few millionths of a dollar a share), limit-up limit-down pauses, early closes, selling
short.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time
from typing import NamedTuple
from zoneinfo import ZoneInfo

from portfolios.kernel.money import CENT, UNIT, ceil_to, round_to_cent
from portfolios.kernel.orders import SELL
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.dated import Dated
from portfolios.kernel.rules.sessions import Sessions, Tiled

COMMISSION = 0.0

_BILLION = 1_000_000_000
# Parts per billion of the amount sold: 27.80 USD a million is 27,800.
_SEC_FEE = Dated(
    (date(2010, 1, 1), 25_700), (date(2010, 1, 15), 12_700), (date(2010, 4, 1), 16_900), (date(2011, 1, 21), 19_200),
    (date(2012, 2, 21), 18_000), (date(2012, 4, 1), 22_400), (date(2013, 5, 25), 17_400), (date(2014, 3, 18), 22_100),
    (date(2015, 2, 14), 18_400), (date(2016, 2, 16), 21_800), (date(2017, 7, 4), 23_100), (date(2018, 5, 22), 13_000),
    (date(2019, 4, 16), 20_700), (date(2020, 2, 18), 22_100), (date(2021, 2, 25), 5_100), (date(2022, 5, 14), 22_900),
    (date(2023, 2, 27), 8_000), (date(2024, 5, 22), 27_800), (date(2025, 5, 14), 0), (date(2026, 4, 4), 20_600),
)  # fmt: skip


class _Taf(NamedTuple):
    """The trading activity fee: millionths of a dollar a share sold, and the cap of a trade in units."""

    a_share: int
    cap: int


_TAF = Dated(
    (date(2012, 7, 1), _Taf(119, 59_500)), (date(2022, 1, 1), _Taf(130, 64_900)), (date(2023, 1, 1), _Taf(145, 72_700)),
    (date(2024, 1, 1), _Taf(166, 83_000)), (date(2026, 1, 1), _Taf(195, 97_900)), (date(2026, 10, 1), _Taf(0, 0)),
    (date(2027, 1, 1), _Taf(232, 116_100)), (date(2028, 1, 1), _Taf(240, 120_500)),
)  # fmt: skip


class UsRules(Tiled):
    market = "us"
    currency = "USD"
    t_plus = 0
    shorting = False
    zone = ZoneInfo("America/New_York")
    hours = ((time(9, 30), time(16, 0)),)

    def __init__(self, trading_days: Sequence[date] = (), *, commission_rate: float = COMMISSION) -> None:
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
        """Commission; the fees of SEC and FINRA on sales as tax."""
        if amount <= 0:
            return Fees(0, 0)
        tax = 0
        if direction == SELL:
            activity = _TAF.at(day)
            sec = -(-amount * _SEC_FEE.at(day) // _BILLION)
            finra = min(-(-volume * activity.a_share // 100), activity.cap)
            tax = ceil_to(sec, CENT) + ceil_to(finra, CENT)
        return Fees(round_to_cent(amount * self._commission, _BILLION), tax)
