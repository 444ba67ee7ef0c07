"""Every message of the wire (SPEC section 3) as a typed struct, and the one way to decode each topic's.

Decoding ignores unknown fields and accepts a newer `_v` with the same fields. `DecodeError` is what a
message that cannot be decoded raises; who reads a topic counts, logs, alerts and skips it (`market.poison`).
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal, TypeAlias

import msgspec

from portfolios.kernel.events import SCHEMA_VERSION, Feedback, PriceUpdate

__all__ = [
    "COMMAND_TYPES",
    "Alert",
    "ControlCommand",
    "DecodeError",
    "Feedback",
    "InterestSyncRequest",
    "InterestUpdate",
    "NodeOffline",
    "NodeOnline",
    "OrderCancel",
    "OrderMessage",
    "OrderSubmission",
    "Placement",
    "PriceUpdate",
    "ScheduleUpdate",
    "SystemEvent",
    "decode_alert",
    "decode_command",
    "decode_feedback",
    "decode_order",
    "decode_price",
    "decode_schedule",
    "decode_system",
    "encode",
    "id_of",
]

DecodeError = msgspec.MsgspecError

COMMAND_TYPES = (
    "portfolio.start",
    "portfolio.stop",
    "portfolio.reload",
    "portfolio.migrate",
    "node.shutdown",
    "node.drain",
    "node.enable",
    "engine.start",
    "engine.stop",
)


class _Message(msgspec.Struct, tag_field="event_type", frozen=True, kw_only=True):
    v: int = msgspec.field(name="_v", default=SCHEMA_VERSION)
    timestamp: datetime


class OrderSubmission(_Message, tag="order_submission", frozen=True, kw_only=True):
    """An order on its way to the engine. A resend is the same message but for the epoch of the day."""

    order_id: str
    portfolio_id: str
    epoch: int
    code: str
    direction: Literal[1, -1]
    order_type: Literal["limit", "market"]
    volume: int
    price: float | None = None
    cause: str


class OrderCancel(_Message, tag="order_cancel", frozen=True, kw_only=True):
    cancel_id: str
    order_id: str
    portfolio_id: str
    epoch: int
    cause: str


OrderMessage: TypeAlias = OrderSubmission | OrderCancel


class ControlCommand(_Message, tag="control_command", frozen=True, kw_only=True):
    """`command_type` is one of COMMAND_TYPES; an unknown one is decoded, then rejected and recorded."""

    command_id: str
    command_type: str
    target_id: str
    params: dict[str, Any] = {}


class Placement(msgspec.Struct, frozen=True):
    portfolio_id: str
    epoch: int


class ScheduleUpdate(_Message, tag="schedule_update", frozen=True, kw_only=True):
    """A node's part of the plan. `action` says why it is told: a portfolio has come from another node or gone to one
    (`migrate`), or none has (`update`). It is for those who watch; a node does the same for both."""

    plan_version: int
    node_id: str
    portfolios: list[Placement]
    action: Literal["update", "migrate"] = "update"


class InterestUpdate(_Message, tag="interest.update", frozen=True, kw_only=True):
    """With `full` the codes are all that the node wants; without, `added` and `removed` are a change."""

    node_id: str
    full: bool = False
    codes: list[str] = []
    added: list[str] = []
    removed: list[str] = []


class InterestSyncRequest(_Message, tag="interest.sync_request", frozen=True, kw_only=True):
    market: str


class NodeOnline(_Message, tag="node.online", frozen=True, kw_only=True):
    node_id: str
    instance: str
    reason: str = ""


class NodeOffline(_Message, tag="node.offline", frozen=True, kw_only=True):
    node_id: str
    instance: str
    reason: str = ""


SystemEvent: TypeAlias = InterestUpdate | InterestSyncRequest | NodeOnline | NodeOffline


class Alert(_Message, tag="alert", frozen=True, kw_only=True):
    alert_id: str
    alert_type: str
    severity: Literal["info", "warning", "critical"]
    source: str
    message: str
    details: dict[str, Any] = {}


def id_of(message: OrderMessage) -> str:
    """The name of an order or of a cancel: each is known by its own."""
    return message.cancel_id if isinstance(message, OrderCancel) else message.order_id


encode = msgspec.json.Encoder().encode
decode_price = msgspec.json.Decoder(PriceUpdate).decode
decode_order = msgspec.json.Decoder(OrderMessage).decode
decode_feedback = msgspec.json.Decoder(Feedback).decode
decode_command = msgspec.json.Decoder(ControlCommand).decode
decode_schedule = msgspec.json.Decoder(ScheduleUpdate | ControlCommand).decode
"""Who publishes plans may put commands among them."""
decode_system = msgspec.json.Decoder(SystemEvent).decode
decode_alert = msgspec.json.Decoder(Alert).decode
