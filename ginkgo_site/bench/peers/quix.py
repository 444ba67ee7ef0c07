"""Peer: quixstreams, which keeps the wanted half of the messages and, with state, a moving average of each key.

`python quix.py BOOTSTRAP TOPIC COUNT plain|state KEYS_FILE STATE_DIR` reads COUNT messages from the beginning; prints
one JSON line. KEYS_FILE holds a JSON list of the wanted keys. The settings are the library's own, changelog topic for
the state included; a window of 60 prices with its sum is what our TrendFollowStrategy keeps, but for its second sum.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

from quixstreams import Application

_WINDOW = 60


class Meter:
    """Counts what comes in, and stops the application when it has seen enough."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.app: Any = None
        self.seen = 0
        self.wanted = 0
        self.begun = self.cpu = self.ended = self.cpu_ended = 0.0

    def see(self) -> None:
        if not self.seen:
            self.begun, self.cpu = time.monotonic(), time.process_time()
        self.seen += 1
        if self.seen == self.count:
            self.ended, self.cpu_ended = time.monotonic(), time.process_time()
            self.app.stop()


def main(bootstrap: str, topic: str, count: int, kind: str, keys: Path, state_dir: Path) -> dict[str, Any]:
    wanted = {key.encode() for key in json.loads(keys.read_text())}
    meter = Meter(count)
    app = meter.app = Application(
        broker_address=bootstrap,
        consumer_group=f"bench.{kind}.{time.time_ns()}",
        auto_offset_reset="earliest",
        state_dir=state_dir,
        loglevel="ERROR",
    )

    def keep(value: Any, key: Any, timestamp: int, headers: Any) -> bool:
        meter.see()
        return key in wanted

    def count_one(value: dict[str, Any]) -> int:
        meter.wanted += 1
        return meter.wanted

    def average(value: dict[str, Any], state: Any) -> float:
        meter.wanted += 1
        window = state.get("window", default=[])
        window.append(value["price"])
        total = state.get("sum", default=0.0) + value["price"]
        if len(window) > _WINDOW:
            total -= window.pop(0)
        state.set("window", window)
        state.set("sum", total)
        return float(total / len(window))

    frame = app.dataframe(app.topic(topic, key_deserializer="bytes", value_deserializer="json"))
    frame = frame.filter(keep, metadata=True)
    if kind == "state":
        frame.apply(average, stateful=True)
    else:
        frame.apply(count_one)
    app.run()
    return {
        "messages": meter.count,
        "wanted": meter.wanted,
        "seconds": meter.ended - meter.begun,
        "cpu_seconds": meter.cpu_ended - meter.cpu,
    }


if __name__ == "__main__":
    address, name, number, what, keys_file, folder = sys.argv[1:]
    sys.stdout.write(json.dumps(main(address, name, int(number), what, Path(keys_file), Path(folder))) + "\n")
