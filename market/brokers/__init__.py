"""Brokers: the port they implement, and those there are. A new one is a class in its own file and a line here."""

from __future__ import annotations

from typing import Any

from market.alerting import Alerter
from market.brokers.port import Broker


class UnknownBroker(Exception):
    """The configuration asks for a broker that is not there."""


def make_broker(name: str, options: dict[str, Any], alerter: Alerter) -> Broker:
    """The broker that `brokers.<name>` of the configuration describes; its `type` says which class."""
    kind = options.get("type", name)
    if kind == "simulation":
        from market.brokers.simulation import SimulatedBroker

        return SimulatedBroker(alerter, name, options)
    raise UnknownBroker(f"engine.broker: there is no broker of type {kind!r} (there is: simulation)")
