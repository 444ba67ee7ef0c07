"""A soak: five portfolios at 5,000 messages a second for as long as is wanted, and what the processes hold meanwhile.

`python -m ginkgo_site.bench.soak MINUTES` in the home of servers of its own. A node, an engine that answers and fills
the portfolios' orders, and a scheduler; a minute passes in the market with each round of its 1,000 codes, five times a
second, so that there are trading days, and all that begins and ends with them, by the dozen. Every few seconds:
resident memory in MB, threads, and open files of each. It prints them as one line of JSON, beside how many messages
there were and how many were applied.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import threading
import time
from typing import Any

import django
import psutil

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.programs import attend

RATE = 5_000
CODES = 1_000
"""So few that each has been traded within minutes: what is known by code grows no more then, and what does leaks."""
EVERY_S = 5.0
_AVERAGES = (5, 20)
_MB = 1_048_576
_SETTLE_S = 120.0


def main(minutes: float) -> dict[str, Any]:
    """Raises BenchError."""
    from ginkgo_site.bench import ground, load, node_process, ticks
    from market.models import Order
    from portfolios import livestate

    ground.prepare()
    placed = ground.place(ticks.shares(ticks.codes(CODES), 10, CODES // 10)[:5], *_AVERAGES)
    # The log is not what is measured, and an hour of it is large.
    ground.keep_little()

    def applied() -> int:
        return int(livestate.client().hget(livestate.metrics_key(ground.NODE_ID), "total_events") or 0)  # type: ignore[arg-type]

    with node_process.engine() as engine, node_process.running() as node, node_process.scheduler() as scheduler:
        node_process.await_portfolios(node, placed)
        watched = {"node": node, "engine": engine, "scheduler": scheduler}
        samples: dict[str, Any] = {"seconds": []}
        for name in watched:
            samples[name] = {"memory": [], "threads": [], "files": []}
        begun = time.monotonic()
        pause = threading.Event()
        with load.running(RATE, minutes * 60, pace="minutes", codes=CODES) as feed:
            while feed.poll() is None:
                pause.wait(EVERY_S)
                samples["seconds"].append(time.monotonic() - begun)
                for name, process in watched.items():
                    _take(psutil.Process(process.pid), samples[name])
        # Half of the messages are somebody's, and each of those is one portfolio's.
        wanted = int(RATE * minutes * 60) // 2
        node_process.until(lambda: applied() >= wanted, f"{wanted:,} messages applied", node, _SETTLE_S)
        samples |= {"messages": 2 * wanted, "applied": applied(), "orders": Order.objects.count()}
    return samples


def _take(process: psutil.Process, into: dict[str, list[float]]) -> None:
    into["memory"].append(round(process.memory_info().rss / _MB, 2))
    into["threads"].append(process.num_threads())
    into["files"].append(process.num_fds())


if __name__ == "__main__":
    attend()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "ginkgo_site.settings")
    django.setup()
    for logger in (None, "market", "scheduler", "portfolios"):
        logging.getLogger(logger).setLevel("ERROR")
    try:
        sys.stdout.write(json.dumps(main(float(sys.argv[1]))) + "\n")
    except BenchError as error:
        sys.exit(f"soak: {error}")
