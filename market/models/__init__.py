"""The engine's truth: orders, fills, what is still to be told, and the simulated exchange's own book."""

from market.models.broker_book import BrokerFill, BrokerOrder
from market.models.cancel import CancelRequest
from market.models.fenced import FencedMessage
from market.models.fill import Fill
from market.models.order import Order
from market.models.outbox import FeedbackCounter, OutboxMessage
from market.models.reconciliation import Mismatch, ReconciliationRun
from market.models.straight import EngineDoor, LogDebt
from market.models.switch import EngineSwitch

__all__ = [
    "BrokerFill",
    "BrokerOrder",
    "CancelRequest",
    "EngineDoor",
    "EngineSwitch",
    "FeedbackCounter",
    "FencedMessage",
    "Fill",
    "LogDebt",
    "Mismatch",
    "Order",
    "OutboxMessage",
    "ReconciliationRun",
]
