"""What others do with the same topic. Each other file here is a program of its own: it imports nothing of ours."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.peers.environment import python_with_peers
from ginkgo_site.bench.progress import Say

_HERE = Path(__file__).parent
BARE, SLOW, STATEFUL = 2_000_000, 50_000, 100_000
"""Messages each kind reads: enough for a few seconds."""


@dataclass(frozen=True)
class Peer:
    name: str
    words: list[str]


def programs(bootstrap: str, topic: str, keys: Path, folder: Path, say: Say) -> tuple[list[Peer], dict[str, str]]:
    """The peers that can be run on `topic`, and of those that cannot, why. `keys`: a JSON list of the wanted keys."""
    ready = [
        Peer("bare confluent", [sys.executable, str(_HERE / "bare.py"), bootstrap, topic, str(BARE)]),
        Peer("kafka-python", [sys.executable, str(_HERE / "kafka_python.py"), bootstrap, topic, str(SLOW)]),
    ]
    absent: dict[str, str] = {}
    try:
        python = str(python_with_peers(say))
    except BenchError as error:
        absent = {"quixstreams": str(error), "quixstreams with state": str(error)}
    else:
        quix = [python, "-W", "ignore", str(_HERE / "quix.py"), bootstrap, topic, str(STATEFUL)]
        ready += [
            Peer("quixstreams", [*quix, "plain", str(keys), str(folder / "quix-plain")]),
            Peer("quixstreams with state", [*quix, "state", str(keys), str(folder / "quix-state")]),
        ]
    return ready, absent
