"""The admin's pages of the market's tables."""

from __future__ import annotations

from market.admin_broker import BrokerFillAdmin, BrokerOrderAdmin
from market.admin_engine import CancelRequestAdmin, EngineSwitchAdmin, FencedMessageAdmin, OutboxMessageAdmin
from market.admin_orders import FillAdmin, OrderAdmin
from market.admin_reconciliation import MismatchAdmin

__all__ = [
    "BrokerFillAdmin",
    "BrokerOrderAdmin",
    "CancelRequestAdmin",
    "EngineSwitchAdmin",
    "FencedMessageAdmin",
    "FillAdmin",
    "MismatchAdmin",
    "OrderAdmin",
    "OutboxMessageAdmin",
]
