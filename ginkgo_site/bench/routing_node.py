"""One measured run of a node over a topic that is already full: the live path, from the first message to the last.

`python -m ginkgo_site.bench.routing_node COUNT WANTED PORTFOLIOS` in the home of a benchmark, with portfolios placed;
prints one JSON line. It is a whole `nodes.node.Node` with all its threads and real checkpoints; only where its live
stream begins differs: at the first message of the log, not behind the last.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import django
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition

_TIMEOUT_S = 240.0


class _FromTheStart(Consumer):
    """Calls the log's beginning its end, so that a portfolio that joins begins its live stream there."""

    def offsets_for_times(self, partitions: list[TopicPartition], **options: Any) -> list[TopicPartition]:
        first = [TopicPartition(each.topic, each.partition, OFFSET_BEGINNING) for each in partitions]
        return list(super().offsets_for_times(first, **options))


def main(expected: int, wanted: int, portfolios: int) -> dict[str, Any]:
    """Route `expected` messages and apply the `wanted` ones of them; what that took, and what was counted."""
    from django.conf import settings

    from ginkgo_site.bench.ground import NODE_ID
    from market import bus, memory
    from nodes.node import Node
    from nodes.readers import Readers

    class _Node(Node):
        def _build(self) -> None:
            super()._build()
            reader = {
                "bootstrap.servers": bus.bootstrap(),
                "group.id": "unused.bench",
                "enable.partition.eof": True,
                "auto.offset.reset": "error",
            }
            self._context = replace(self._context, readers=Readers(lambda: _FromTheStart(reader)))

    config = settings.GINKGO
    node = _Node(NODE_ID, config.node, config.home, config.kafka.partition_pruning, portfolios)
    node.prepare()
    market = node._market
    market.paused.set()
    memory.settle()
    node.start()
    deadline = time.monotonic() + _TIMEOUT_S
    pause = threading.Event()

    def wait(condition: Callable[[], bool], what: str, every: float) -> None:
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what} after {_TIMEOUT_S:g} s")
            pause.wait(every)

    wait(lambda: sum(p.running.is_set() for p in node._processors.values()) == portfolios, "not all run", 0.02)
    processors = list(node._processors.values())

    def all_applied() -> bool:
        # Empty queues do not say it: a portfolio whose queue overflowed reads on from the log with an empty one.
        return sum(p.applied for p in processors) >= wanted and not any(p.queued for p in processors)

    begun, cpu = time.monotonic(), time.process_time()
    market.paused.clear()
    wait(lambda: market.seen >= expected, "messages are still to be read", 0.01)
    wait(all_applied, "events are still to be applied", 0.001)
    seconds, cpu = time.monotonic() - begun, time.process_time() - cpu
    found = {
        "messages": expected,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "applied": sum(p.applied for p in processors),
        "dropped": sum(p.drops for p in processors),
        "overflows": sum(p.pressures for p in processors),
        "orders": node._sender.sent,
        "checkpoints": node._checkpointer.written,
    }
    node.stop()
    return found


if __name__ == "__main__":
    django.setup()
    logging.getLogger().setLevel("ERROR")
    for name in ("nodes", "market"):
        logging.getLogger(name).setLevel("ERROR")
    sys.stdout.write(json.dumps(main(*map(int, sys.argv[1:4]))) + "\n")
