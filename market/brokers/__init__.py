"""Brokers: the port they implement, and how the one that the configuration asks for is found.

The simulated one is built in. A broker of one's own is a class in a file outside this project: named by its path
(`my_module:MyBroker`), or announced by an installed package under the entry point group `ginkgo.brokers`.
"""

from __future__ import annotations

import importlib
from importlib.metadata import entry_points
from typing import Any

from market.alerting import Alerter
from market.brokers.port import Broker

ENTRY_POINT_GROUP = "ginkgo.brokers"

_BUILT_IN = {"simulation": "market.brokers.simulation:SimulatedBroker"}
_METHODS = (
    "start", "stop", "dead_thread", "submit", "cancel", "query",
    "follow", "unfollow", "news", "holdings", "quote", "moment",
)  # fmt: skip
_LONGEST_NAME = 40


class UnknownBroker(Exception):
    """The configuration asks for a broker that is not there, or that cannot be made; the message says what to do."""


def make_broker(name: str, options: dict[str, Any], alerter: Alerter) -> Broker:
    """The broker that `brokers.<name>` of the configuration describes; its `type` (else `name`) says which class.

    The class is called with (alerter, name, options) and connects nowhere before its `start`.
    """
    if len(name) > _LONGEST_NAME:
        raise UnknownBroker(
            f"engine.broker: {name!r} has more than {_LONGEST_NAME} characters: give it a short name under 'brokers:' "
            "and its path as 'type'"
        )
    kind = str(options.get("type", name))
    found = _find(kind)
    lacking = [method for method in _METHODS if not callable(getattr(found, method, None))]
    if lacking:
        raise UnknownBroker(f"engine.broker: {kind!r} is no broker, it lacks {', '.join(lacking)}")
    try:
        broker: Broker = found(alerter, name, options)
    except Exception as error:
        raise UnknownBroker(f"engine.broker: cannot make {kind!r}: {_said(error)}") from error
    return broker


def _find(kind: str) -> Any:
    installed = {point.name: point.value for point in entry_points(group=ENTRY_POINT_GROUP)}
    path = _BUILT_IN.get(kind) or installed.get(kind) or kind
    module, colon, attribute = path.partition(":")
    if not (module and colon and attribute):
        known = ", ".join([*_BUILT_IN, *sorted(installed)])
        raise UnknownBroker(
            f"engine.broker: there is no broker of type {kind!r} (there is: {known}, or my_module:MyBroker)"
        )
    try:
        return getattr(importlib.import_module(module), attribute)
    except Exception as error:
        raise UnknownBroker(f"engine.broker: cannot load {kind!r}: {_said(error)}") from error


def _said(error: Exception) -> str:
    """In one line, whatever it is."""
    return " ".join(f"{type(error).__name__}: {error}".split())
