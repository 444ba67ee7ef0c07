"""How a node does: what keeps it from trading, in the words in which it says so in its heartbeat (SPEC N9)."""

from __future__ import annotations

from collections.abc import Iterable

from market.alerting import Alerter
from market.reach import Client, Reach
from nodes.thread import NodeThread

KAFKA = "Kafka does not answer"
DATABASE = "the database does not answer"


def faults(dead: Iterable[str], database: bool, kafka: bool) -> list[str]:
    """Why a node is unhealthy; nothing if it is well. `dead` are its threads that have died."""
    found = [f"thread {name} has died" for name in sorted(dead)]
    if not database:
        found.append(DATABASE)
    if not kafka:
        found.append(KAFKA)
    return found


class KafkaWatch(NodeThread):
    """Asks Kafka all the time whether it is there, by the client that sends the orders."""

    def __init__(self, node_id: str, client: Client, alerter: Alerter) -> None:
        super().__init__(f"kafka_{node_id}")
        self._node_id = node_id
        self._alerter = alerter
        self._reach = Reach(client, self._on_change)

    @property
    def away(self) -> bool:
        return self._reach.away

    def work(self) -> None:
        self._reach.run(self.stopping)

    def _on_change(self, away: bool, seconds: float) -> None:
        if away:
            what = f"Kafka does not answer {self._node_id}: no prices; what may, goes straight to the engine"
            self._alerter.raise_alert("kafka_unavailable", "critical", what)
        else:
            what = f"Kafka answers {self._node_id} again, after {seconds:.0f} s"
            self._alerter.raise_alert("kafka_back", "info", what)
