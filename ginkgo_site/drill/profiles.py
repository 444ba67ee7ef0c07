"""How quick a drill's cluster is: the intervals of its processes, as their environment."""

from __future__ import annotations

from collections.abc import Mapping

_ROOM = {"GINKGO_NODE__MAX_PORTFOLIOS": "10", "GINKGO_ENGINE__MAX_ORDERS_PER_MINUTE": "100000"}

FAST: Mapping[str, str] = {
    **_ROOM,
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "1",
    "GINKGO_NODE__HEARTBEAT_TTL": "3",
    "GINKGO_NODE__RECONCILE_INTERVAL": "0.5",
    "GINKGO_NODE__CHECKPOINT_INTERVAL": "1",
    "GINKGO_NODE__RESEND_INTERVAL": "2",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "2",
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "0.5",
    "GINKGO_SCHEDULER__LEASE": "4",
    "GINKGO_SCHEDULER__MOVE_TIMEOUT": "5",
}
"""A dead node is noticed within 3 seconds instead of 30."""

USUAL: Mapping[str, str] = {
    **_ROOM,
    "GINKGO_NODE__HEARTBEAT_INTERVAL": "10",
    "GINKGO_NODE__HEARTBEAT_TTL": "30",
    "GINKGO_NODE__RECONCILE_INTERVAL": "5",
    "GINKGO_NODE__CHECKPOINT_INTERVAL": "5",
    "GINKGO_NODE__RESEND_INTERVAL": "10",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "30",
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "5",
    "GINKGO_SCHEDULER__LEASE": "20",
    "GINKGO_SCHEDULER__MOVE_TIMEOUT": "30",
}
"""The configuration's defaults, whatever this installation has set."""

TTL_S = 3.0
"""Of the fast profile."""
