"""China's futures: in CNY, on margin, long and short, T+0, contracts of a fixed size.

Contract sizes and price steps are those of the contracts as the exchanges publish them ("contract specifications" of
CFFEX, SHFE, INE, DCE, CZCE; looked up in October 2026). CFFEX's daily limits are in the contracts too (index 10 %;
bonds 0.5, 1.2, 2 and 3.5 %) and follow the last settlement price, which a feed gives as `prev_close`. The commodity
exchanges move their limits by notice, so none is assumed there.

What is an assumption, for want of a source that holds longer than a notice: margins (contract minima are 8 % for the
indices and 0.5, 1, 2 and 3.5 % for the bonds; 12 % is taken for the indices, as CFFEX has long asked, and for
commodities what brokers commonly ask), and the exchanges' fees of commodities (each its own, a lot or a share,
changed by notice): 0.01 % of the value, at or above what most take. CFFEX's own fees are its notices': 0.0023 % for
the indices (from 2019-04-22), CNY 3 a lot for the bonds.

The exchange's fee is charged as tax; the broker's commission on top of it is by agreement, and nothing unless
`commission_rate` says so.

The night session belongs to the next trading day. Orders caused from 15:00 on are the next session's, also for bonds,
which trade until 15:15. Not modelled: daily settlement in cash (open profit counts in the total value, not in cash),
delivery, the wider limits and higher margins of the delivery month, and the dearer fee for closing an index position
on the day it was opened (ten times and more the ordinary one: a strategy that does so looks better here than it is).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import NamedTuple

from portfolios.kernel.money import CENT, round_to_cent, to_units
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.cn import SHANGHAI
from portfolios.kernel.rules.sessions import Sessions, Tiled

COMMISSION = 0.0

_PPM = 1_000_000
_BILLION = 1_000_000_000


class Contract(NamedTuple):
    """One product: value of a point in CNY, price step, margin and (None: not assumed) daily limit as shares; the
    exchange's fee on each side as a share of the value, and in CNY a lot."""

    multiplier: int
    tick: float
    margin: float
    limit: float | None = None
    fee_rate: float = 0.0001
    fee_lot: int = 0


def _index(multiplier: int) -> Contract:
    return Contract(multiplier, 0.2, 0.12, 0.10, 0.000023)


CONTRACTS = {
    "IF": _index(300), "IH": _index(300), "IC": _index(200), "IM": _index(200),
    "TS": Contract(20_000, 0.002, 0.005, 0.005, 0, 3), "TF": Contract(10_000, 0.005, 0.01, 0.012, 0, 3),
    "T": Contract(10_000, 0.005, 0.02, 0.02, 0, 3), "TL": Contract(10_000, 0.01, 0.035, 0.035, 0, 3),
    "AU": Contract(1000, 0.02, 0.12), "AG": Contract(15, 1, 0.13), "CU": Contract(5, 10, 0.10),
    "AL": Contract(5, 5, 0.10), "ZN": Contract(5, 5, 0.10), "NI": Contract(1, 10, 0.12), "RB": Contract(10, 1, 0.08),
    "HC": Contract(10, 1, 0.08), "RU": Contract(10, 5, 0.10), "FU": Contract(10, 1, 0.12),
    "SC": Contract(1000, 0.1, 0.12), "M": Contract(10, 1, 0.08), "Y": Contract(10, 2, 0.08), "P": Contract(10, 2, 0.10),
    "C": Contract(10, 1, 0.08), "I": Contract(100, 0.5, 0.13), "J": Contract(100, 0.5, 0.15),
    "JM": Contract(60, 0.5, 0.15), "CF": Contract(5, 5, 0.08), "SR": Contract(10, 1, 0.08),
    "TA": Contract(5, 2, 0.08), "MA": Contract(10, 1, 0.09),
}  # fmt: skip
_UNKNOWN = Contract(10, 1, 0.15)


def contract_of(code: str) -> Contract:
    """`IF2612.CFX` → the contract of IF; a product not in the table counts as 10 units a lot, 15 % margin."""
    return CONTRACTS.get(code.partition(".")[0].rstrip("0123456789").upper(), _UNKNOWN)


class FuturesRules(Tiled):
    market = "futures"
    currency = "CNY"
    t_plus = 0
    shorting = True
    zone = SHANGHAI
    hours = ((time(9, 0), time(11, 30)), (time(13, 0), time(15, 15)), (time(21, 0), time.max), (time.min, time(2, 30)))

    def __init__(self, trading_days: Sequence[date] = (), *, commission_rate: float = COMMISSION) -> None:
        """`commission_rate`: share of the contract's value that the broker takes, each side, beside the exchange."""
        super().__init__(Sessions(SHANGHAI, time(15, 0), trading_days, roll=timedelta(hours=20)))
        self._commission = round(commission_rate * _BILLION)

    def multiplier(self, code: str) -> int:
        return contract_of(code).multiplier

    def margin_rate(self, code: str) -> int:
        return round(contract_of(code).margin * _PPM)

    def tick_size(self, code: str, day: date, price: int = 0) -> int:
        return to_units(float(contract_of(code).tick))

    def round_lot(self, code: str, direction: int, volume: int, held: int = 0) -> int:
        return max(volume, 0)

    def limits(self, code: str, prev_close: int, day: date, st: bool = False) -> tuple[int, int] | None:
        contract = contract_of(code)
        if contract.limit is None:
            return None
        # Rounded inwards to the step: a price may not be further away than the limit.
        tick = to_units(float(contract.tick))
        reach = prev_close * round(contract.limit * _PPM)
        low = -(-(prev_close * _PPM - reach) // (_PPM * tick)) * tick
        high = (prev_close * _PPM + reach) // (_PPM * tick) * tick
        return low, high

    def fees(self, code: str, direction: int, amount: int, volume: int, day: date) -> Fees:
        """The broker's commission; the exchange's fee as tax."""
        if amount <= 0:
            return Fees(0, 0)
        contract = contract_of(code)
        exchange = round_to_cent(amount * round(contract.fee_rate * _BILLION), _BILLION)
        return Fees(
            round_to_cent(amount * self._commission, _BILLION), exchange + volume * contract.fee_lot * 100 * CENT
        )
