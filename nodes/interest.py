"""The interest map: key → the subscriptions that want it, O(1), copy-on-write: its reader takes no lock (SPEC N3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from nodes.subscription import Subscription

_Map = Mapping[bytes, tuple[Subscription, ...]]


class InterestMap:
    """`wanted` is replaced, never changed: a reader keeps the one it took. Written by the consumer thread alone."""

    def __init__(self) -> None:
        self.wanted: _Map = {}
        self._subscriptions: dict[str, Subscription] = {}

    def add(self, subscription: Subscription) -> None:
        """Add it, in the place of the same portfolio's earlier one."""
        self._subscriptions[subscription.portfolio_id] = subscription
        self._rebuild()

    def remove(self, portfolio_id: str) -> None:
        if self._subscriptions.pop(portfolio_id, None) is not None:
            self._rebuild()

    def subscriptions(self) -> Iterable[Subscription]:
        return tuple(self._subscriptions.values())

    def keys(self) -> list[str]:
        """All keys somebody wants, sorted."""
        return sorted(key.decode() for key in self.wanted)

    def _rebuild(self) -> None:
        wanted: dict[bytes, tuple[Subscription, ...]] = {}
        for subscription in self._subscriptions.values():
            for key in subscription.keys:
                wanted[key] = (*wanted.get(key, ()), subscription)
        self.wanted = wanted
