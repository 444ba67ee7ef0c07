"""The scheduler's threads start and stop with the Celery worker that consumes its queue (SPEC section 2, S1).

`ginkgo scheduler run` and `celery -A ginkgo_site worker -Q scheduler` are both a worker with this step in it. The first
has beat among its threads; beside the second runs `celery beat`.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from celery import bootsteps

from market import celery_worker
from scheduler import wires

if TYPE_CHECKING:
    from scheduler.service import SchedulerService

log = logging.getLogger(__name__)

_STOP_TIMEOUT = 5.0


class SchedulerStep(bootsteps.StartStopStep):
    """`service` is set on the class by `ginkgo scheduler run`, which ends it itself: it outlives a worker that failed.

    Any other worker has one of its own, which ends with it.
    """

    # After the pool: threads do not survive a fork.
    requires = ("celery.worker.components:Pool",)
    service: SchedulerService | None = None

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._own: SchedulerService | None = None

    def include_if(self, parent: Any) -> bool:
        return wires.SCHEDULER_QUEUE in parent.app.amqp.queues.consume_from

    def start(self, parent: Any) -> None:
        if self.service is not None:
            self.service.start()
            return
        # Here: a node's worker loads this file too, and has no use for it.
        from scheduler.service import SchedulerService, Unready, wait_for_servers

        try:
            ready = wait_for_servers(celery_worker.asked_within)
        except Unready as error:
            log.error("%s", error)
            raise SystemExit(1) from None
        if ready:
            self._own = SchedulerService(parent.app, beat=False)
            self._own.start()

    def stop(self, parent: Any) -> None:
        if self._own is not None:
            self._own.stop(_STOP_TIMEOUT)

    def terminate(self, parent: Any) -> None:
        """A cold shutdown: what its threads are about, the next scheduler does."""
        self.stop(parent)
