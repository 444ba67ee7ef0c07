"""The names of the Kafka topics, their partitions and their retention (SPEC section 3)."""

from __future__ import annotations

from dataclasses import dataclass

_DAY_MS = 24 * 3600 * 1000

MARKET_DATA = {
    "cn": "ginkgo.live.market.data",
    "hk": "ginkgo.live.market.data.hk",
    "us": "ginkgo.live.market.data.us",
    "futures": "ginkgo.live.market.data.futures",
}
ORDERS_SUBMISSION = "ginkgo.live.orders.submission"
ORDERS_FEEDBACK = "ginkgo.live.orders.feedback"
CONTROL_COMMANDS = "ginkgo.live.control.commands"
SCHEDULE_UPDATES = "ginkgo.live.schedule.updates"
SYSTEM_EVENTS = "ginkgo.live.system.events"
ALERTS = "ginkgo.alerts"


@dataclass(frozen=True)
class Topic:
    """One topic as it is created: `retention_ms` from the time of production, in milliseconds."""

    name: str
    partitions: int
    retention_ms: int


TOPICS: tuple[Topic, ...] = (
    *(Topic(name, 10, 7 * _DAY_MS) for name in MARKET_DATA.values()),
    Topic(ORDERS_SUBMISSION, 10, 30 * _DAY_MS),
    Topic(ORDERS_FEEDBACK, 10, 30 * _DAY_MS),
    Topic(CONTROL_COMMANDS, 3, 7 * _DAY_MS),
    Topic(SCHEDULE_UPDATES, 3, 7 * _DAY_MS),
    Topic(SYSTEM_EVENTS, 3, 7 * _DAY_MS),
    Topic(ALERTS, 3, 7 * _DAY_MS),
)

_MARKET_BY_SUFFIX = {"SH": "cn", "SZ": "cn", "BJ": "cn", "HK": "hk", "US": "us"}


def market_of(code: str) -> str:
    """The market of a well-formed code: `600519.SH` → cn, `00700.HK` → hk, `AAPL.US` → us, else futures."""
    return _MARKET_BY_SUFFIX.get(code.rpartition(".")[2], "futures")


def market_topic(code: str) -> str:
    return MARKET_DATA[market_of(code)]
