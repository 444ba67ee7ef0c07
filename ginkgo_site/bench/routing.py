"""Routing and applying: one node, five portfolios with 500 codes each of 5,000, so half the messages wanted.

Ours and its peers read the same topic in turn, several times over; what counts are the medians.
"""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from ginkgo_site.bench import ground, peers, ticks
from ginkgo_site.bench.errors import BenchError
from ginkgo_site.bench.figures import median
from ginkgo_site.bench.outcome import Outcome
from ginkgo_site.bench.programs import measure, module
from ginkgo_site.bench.progress import Say
from market import bus

MESSAGES = 2_000_000
ROUNDS = 3
MUST = 200_000
TIMES_QUIXSTREAMS = 3.0
_PORTFOLIOS, _CODES_EACH = 5, 500
_STATEFUL = "quixstreams with state"


def run(say: Say) -> list[Outcome]:
    """Raises BenchError."""
    ground.prepare()
    codes = ticks.codes()
    shares = ticks.shares(codes, _PORTFOLIOS, _CODES_EACH)
    say(f"routing: writing {MESSAGES:,} ticks of {len(codes):,} codes to Kafka")
    ground.fill(ticks.walk(codes, MESSAGES))
    wanted = set().union(*shares)
    expected = sum(MESSAGES // len(codes) for _ in wanted)

    runs: dict[str, list[dict[str, Any]]] = {}
    with tempfile.TemporaryDirectory(prefix="gk-bench-") as folder:
        keys = Path(folder) / "keys.json"
        keys.write_text(json.dumps(sorted(wanted)), encoding="utf-8")
        rivals, absent = peers.programs(bus.bootstrap(), ground.TOPIC, keys, Path(folder), say)
        for number in range(ROUNDS):
            placed = ground.place(shares)
            words = module("ginkgo_site.bench.routing_node", str(MESSAGES), str(expected), str(_PORTFOLIOS))
            ours = measure(words, 300)
            ground.remove(placed)
            say(f"routing: round {number + 1} of {ROUNDS}: ours {_rate(ours):,.0f} messages/s")
            if (ours["applied"], ours["dropped"]) != (expected, 0):
                raise BenchError(f"routing: {ours['applied']} events were applied, {expected} were wanted")
            runs.setdefault("ours", []).append(ours)
            for rival in rivals:
                found = measure(rival.words, 120)
                say(f"routing: round {number + 1} of {ROUNDS}: {rival.name} {_rate(found):,.0f} messages/s")
                runs.setdefault(rival.name, []).append(found)
    return [outcome(runs, absent, expected)]


def outcome(runs: dict[str, list[dict[str, Any]]], absent: dict[str, str], applied: int) -> Outcome:
    """The medians of all runs; the ratio to quixstreams is a condition of its own where that could be run."""
    rates = {name: median([_rate(each) for each in found]) for name, found in runs.items()}
    cpu = {name: median([1e6 * r["cpu_seconds"] / r["messages"] for r in found]) for name, found in runs.items()}
    ours = rates.pop("ours")
    also, details = {}, {"events wanted and applied": float(applied)}
    details["queues that overflowed"] = float(max(r["overflows"] for r in runs["ours"]))
    details["orders sent"] = float(median([r["orders"] for r in runs["ours"]]))
    if _STATEFUL in rates:
        ratio = ours / rates[_STATEFUL]
        details[f"times {_STATEFUL} (must be {TIMES_QUIXSTREAMS:g})"] = ratio
        also[f"{TIMES_QUIXSTREAMS:g} × {_STATEFUL}"] = ratio >= TIMES_QUIXSTREAMS
    # What a machine that others use too takes away from one run, it does not add to its processor time.
    details |= {f"µs of processor time a message, {name}": value for name, value in cpu.items()}
    return Outcome(
        name="routing",
        ours=ours,
        unit="messages/s",
        must=MUST,
        bound="at least",
        peers={**rates, **dict.fromkeys(absent)},
        also=also,
        details=details,
        notes=[f"{name} is absent: {why}" for name, why in absent.items()],
        load=os.getloadavg()[0],
    )


def _rate(found: dict[str, Any]) -> float:
    return float(found["messages"] / found["seconds"])
