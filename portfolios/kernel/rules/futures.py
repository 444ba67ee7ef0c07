"""China's futures: in CNY, on margin, long and short, T+0, contracts of a fixed size.

Contract sizes, price steps and margins are those of the contracts as the exchanges publish them (CFFEX, SHFE, INE,
DCE, CZCE, "contract specifications"); margins are the exchanges' minima rounded up to what brokers commonly ask.
CFFEX's daily limits are in the contracts (index 10 %, bonds 0.5 to 3.5 %) and follow the last settlement price,
which a feed gives as `prev_close`. The commodity exchanges move their limits by notice, so none is assumed
there. The night session belongs to the next trading day. Orders caused from 15:00 on are the next
session's, also for bonds, which trade until 15:15. Not modelled: daily settlement in cash (open profit
counts in the total value, not in cash), delivery, dearer fees for closing on the same day.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, time, timedelta
from typing import NamedTuple

from portfolios.kernel.money import round_to_cent, to_units
from portfolios.kernel.rules.base import Fees
from portfolios.kernel.rules.cn import SHANGHAI
from portfolios.kernel.rules.sessions import Sessions, Tiled

_PPM = 1_000_000


class Contract(NamedTuple):
    """One product: value of a point in CNY, price step, margin and (None: not assumed) daily limit as shares."""

    multiplier: int
    tick: float
    margin: float
    limit: float | None = None


CONTRACTS = {
    "IF": Contract(300, 0.2, 0.12, 0.10), "IH": Contract(300, 0.2, 0.12, 0.10), "IC": Contract(200, 0.2, 0.12, 0.10),
    "IM": Contract(200, 0.2, 0.12, 0.10), "TS": Contract(20_000, 0.002, 0.005, 0.005),
    "TF": Contract(10_000, 0.005, 0.012, 0.012), "T": Contract(10_000, 0.005, 0.02, 0.02),
    "TL": Contract(10_000, 0.01, 0.035, 0.035),
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

    def __init__(self, trading_days: Sequence[date] = (), *, commission_rate: float = 0.00005) -> None:
        """`commission_rate`: share of the contract's value that exchange and broker take together, each side."""
        super().__init__(Sessions(SHANGHAI, time(15, 0), trading_days, roll=timedelta(hours=20)))
        self._commission = round(commission_rate * _PPM * 1000)

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
        return Fees(round_to_cent(amount * self._commission, _PPM * 1000) if amount > 0 else 0, 0)
