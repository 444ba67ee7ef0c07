"""A scheduler for nodes of a test's own: it leaves all else in the cluster alone."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from ginkgo_site.supervisor.detach import command
from portfolios.models import Assignment, Portfolio
from scheduler.models import Node, Requirement
from tests.support import eventually
from tests.support.cluster import ALIAS, FAST, Cluster, NodeProcess

QUICK = {
    **FAST,
    "GINKGO_SCHEDULER__HEARTBEAT_CHECK_INTERVAL": "1",
    "GINKGO_SCHEDULER__SCHEDULE_INTERVAL": "2",
    "GINKGO_SCHEDULER__MOVE_TIMEOUT": "20",
}


@dataclass
class Zone:
    """Nodes that take what asks for their zone, and nobody else's portfolios."""

    name: str
    cluster: Cluster

    def nodes(self, *node_ids: str) -> list[NodeProcess]:
        """Started together; all run."""
        launched = [self.cluster.launch(node_id) for node_id in self._labelled(node_ids)]
        for node in launched:
            eventually(lambda node=node: node.info() == "running", timeout=60, saying=f"{node.node_id} running")
        return launched

    def portfolio(self, config: Mapping[str, Any]) -> str:
        """Nobody's: the scheduler finds it a node."""
        made = self.cluster.portfolio(config, desired="stopped")
        with self.cluster.db():
            Requirement.objects.using(ALIAS).create(portfolio_id=made, labels={"zone": self.name})
        self.cluster.desire(made, "running")
        return made

    def runs(self, portfolio_id: str, *node_ids: str, timeout: float = 60) -> str:
        """Wait until it runs on one of these; on which."""

        def there() -> bool:
            return self.owner(portfolio_id) in node_ids and self.cluster.status(portfolio_id) == "running"

        eventually(there, timeout, saying=f"{portfolio_id} running on one of {node_ids}")
        return self.owner(portfolio_id)

    def owner(self, portfolio_id: str) -> str:
        return str(self.cluster.assignment(portfolio_id).node_id)

    def _labelled(self, node_ids: tuple[str, ...]) -> tuple[str, ...]:
        with self.cluster.db():
            for node_id in node_ids:
                Node.objects.using(ALIAS).update_or_create(
                    node_id=node_id, defaults={"state": "offline", "labels": {"zone": [self.name]}}
                )
        return node_ids


@contextmanager
def scheduled(cluster: Cluster, name: str) -> Iterator[Zone]:
    """A scheduler runs; what other tests have left behind is to stop, and is nobody's."""
    with cluster.db():
        Assignment.objects.using(ALIAS).update(node_id="")
        Portfolio.objects.using(ALIAS).update(desired_state="stopped")
    log = (cluster.stack.home / f"scheduler-{name}.log").open("wb")
    process = subprocess.Popen(
        command("scheduler", "run", "--hostname", f"scheduler-{name}@test"),
        env={**cluster.stack.environment, **QUICK},
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        yield Zone(name, cluster)
    finally:
        process.kill()
        process.wait()
        log.close()
        with cluster.db():
            Portfolio.objects.using(ALIAS).update(desired_state="stopped")
