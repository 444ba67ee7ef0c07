"""What a portfolio has and is worth, for whoever asks: its components, the node, reports."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime

from portfolios.kernel.ledger import Ledger, OpenOrder, Position
from portfolios.kernel.money import to_units
from portfolios.kernel.rules.base import MarketRules, Session
from portfolios.kernel.watchlist import Watchlist

LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)


class Standing:
    """The books, read. Money in units of 0.0001 of the rules' currency, positions at their last prices."""

    __slots__ = ("_ledger", "_now", "_session", "_watchlist", "rules")

    _ledger: Ledger
    _watchlist: Watchlist
    _session: Session | None
    _now: datetime
    rules: MarketRules

    def _books(self) -> Ledger:
        """The ledger at the last prices."""
        if self._watchlist.unmarked:
            self._watchlist.mark()
        return self._ledger

    @property
    def codes(self) -> frozenset[str]:
        """What the portfolio must hear of: its configured codes and whatever it still holds or has ordered."""
        return frozenset(self._watchlist.watches)

    @property
    def cold(self) -> frozenset[str]:
        """Codes of which the strategy or the sizer remembers nothing: what `warm_up` is for."""
        return frozenset(code for code, watch in self._watchlist.watches.items() if watch.cold or watch.sizer_cold)

    @property
    def cash(self) -> int:
        """All cash in units, what open orders hold back included."""
        return self._ledger.cash

    @property
    def frozen(self) -> int:
        """Cash in units that open orders hold back."""
        return self._ledger.frozen

    @property
    def margin(self) -> int:
        """Margin in units that futures positions hold."""
        return self._books().margin

    @property
    def available_cash(self) -> int:
        return self._books().available

    @property
    def initial_cash(self) -> int:
        """What profit is measured from: the first cash, deposits, less withdrawals."""
        return self._ledger.initial

    @property
    def total_value(self) -> int:
        """Cash and positions at their last prices, in units."""
        return self._books().total_value

    @property
    def positions(self) -> Mapping[str, Position]:
        return self._books().positions

    @property
    def realised(self) -> int:
        return self._ledger.realised

    @property
    def unrealised(self) -> int:
        return self._books().unrealised

    @property
    def fees(self) -> int:
        """All fees paid so far, in units."""
        return self._ledger.fees

    @property
    def day(self) -> date:
        """The trading day that the newest price belongs to (1970-01-01 before the first)."""
        return self._session.day if self._session is not None else LONG_AGO.date()

    @property
    def now(self) -> datetime:
        """The newest event time (1970 before the first event)."""
        return self._now

    def price_of(self, code: str) -> int:
        """The last good price of a code in units, 0 before the first."""
        watch = self._watchlist.watches.get(code)
        return to_units(watch.price) if watch is not None else 0

    def committed(self, code: str | None = None) -> int:
        """Value in units of the positions in a code (None: in all), opening orders included."""
        ledger = self._books()
        if code is None:
            return sum(abs(each.notional) for each in ledger.positions.values()) + ledger.frozen
        held = abs(ledger.positions[code].notional) if code in ledger.positions else 0
        return held + sum(each.frozen for each in ledger.orders.values() if each.order.code == code)

    def open_orders(self) -> list[OpenOrder]:
        """Orders that are not over, in the order of their decision."""
        return list(self._ledger.orders.values())
