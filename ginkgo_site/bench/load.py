"""A feed in the background, so many ticks a second: `python -m ginkgo_site.bench.load RATE SECONDS EVERY PACE CODES`.

EVERY other than 0: numbered, and one of each code in so many marked, as a witness wants them.

It prints how many there were as one line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import django

from ginkgo_site.bench.programs import module
from ginkgo_site.supervisor.detach import environment

_SLOT_S = 0.01


@contextmanager
def running(
    rate: int,
    seconds: float,
    every: int = 0,
    pace: Literal["snapshots", "minutes"] = "snapshots",
    codes: int = 5000,
) -> Iterator[subprocess.Popen[bytes]]:
    """It runs in a process of its own, which ends with this block at the latest.

    From one round of all codes to the next three seconds pass in the market, or with `minutes` a minute.
    """
    process = subprocess.Popen(
        module("ginkgo_site.bench.load", str(rate), str(seconds), str(every), pace, str(codes)),
        env=environment(), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        yield process
    finally:
        process.terminate()
        process.wait(10)


def main(rate: int, seconds: float, every: int, pace: str, codes: int) -> int:
    """Publish in slots of 10 ms; how many ticks."""
    from ginkgo_site.bench import ticks
    from ginkgo_site.bench.ground import TOPIC
    from market import bus
    from market.messages import encode

    producer = bus.make_producer("bench.load", linger_ms=5)
    pause = threading.Event()
    begun = time.monotonic()
    after = ticks.next_minute if pace == "minutes" else ticks.next_snapshot
    market = ticks.walk(ticks.codes(codes), int(rate * seconds), every=every, after=after)
    sent = 0
    for tick in market:
        producer.produce(TOPIC, key=tick.code, value=encode(tick))
        sent += 1
        if sent % max(1, int(rate * _SLOT_S)) == 0:
            producer.poll(0)
            pause.wait(max(0.0, begun + sent / rate - time.monotonic()))
    producer.flush(10)
    return sent


if __name__ == "__main__":
    django.setup()
    given = sys.argv
    sent = main(int(given[1]), float(given[2]), int(given[3]), given[4], int(given[5]))
    sys.stdout.write(json.dumps({"sent": sent}) + "\n")
